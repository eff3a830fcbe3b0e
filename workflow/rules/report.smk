# The page of a preset: does it reproduce? Not part of `all`: `make report`, or `snakemake --cores all report`.
# In: results/<preset>, the rendered tables and figures, the audit of the paper. Out: paper_tables/<preset>/report.html.


rule write_page:
    input:
        results=table_results,
        baselines=baseline_results,
        ledger=lambda wildcards: ledger_files(),
        claims=CLAIMS,
        compared="results/{preset}/compare/paper.json",
        audit="paper_tables/audit.json",
        tables=expand("paper_tables/{{preset}}/{table}.html", table=TABLES),
        cells="paper_tables/{preset}/cells.csv",
        figures=page_figures(),
        templates=expand(
            "paper_tables/templates/{name}.j2", name=["base.html", "report.html", "report.css", "table.css"]
        ),
    output:
        page="paper_tables/{preset}/report.html",
    log:
        "logs/{preset}/write_page.log",
    benchmark:
        "benchmarks/{preset}/write_page.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        file=job_file(
            "write_page",
            values=lambda wildcards: {"layout": job_settings.layout(config)},
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
        f"paper_tables/{config['preset']}/report.html",
    localrule: True
