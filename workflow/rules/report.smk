# The page of a preset, which answers whether the paper reproduces: `make report`, or `snakemake --cores all report`.
# Input: results/<preset>, the rendered tables and figures, the audit of the paper.
# Output: paper_tables/<preset>/report.html.


rule write_page:
    input:
        results=lambda wildcards: [*table_results(wildcards), *baseline_results(wildcards), *ledger_files()],
        verdicts=[CLAIMS, BASE_CHECK, "results/{preset}/compare/paper.json", "paper_tables/audit.json"],
        tables=expand("paper_tables/{{preset}}/{table}.html", table=TABLES),
        cells="paper_tables/{preset}/cells.csv",
        figures=page_figures(),
        templates=sorted(Path("paper_tables/templates").glob("*.j2")),
    output:
        page="paper_tables/{preset}/report.html",
    log:
        "logs/{preset}/write_page.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "write_page",
            values=page_values,
            results="results",
            audit="paper_tables/audit.json",
            figures=page_figures(),
            templates="paper_tables/templates",
            out="paper_tables/{preset}",
        ),
    message:
        "Writing {output.page}"
    shell:
        LOCAL_JOB


rule report:
    input:
        page_file(),
    localrule: True
