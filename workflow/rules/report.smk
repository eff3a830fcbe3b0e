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
        figures=[path for path in figure_files() + query_figure_files() if path.endswith(".svg")],
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
        layout=job_settings.layout(config),
        code=rule_fingerprint("slq.reporting.page.page"),
    message:
        "Writing {output.page}"
    shell:
        "slq report --layout {params.layout:q} --results results --audit {input.audit}"
        " --templates paper_tables/templates --out paper_tables/{wildcards.preset} --figures {input.figures}"
        " 2>&1 | tee {log} >&2"


rule report:
    input:
        f"paper_tables/{config['preset']}/report.html",
    localrule: True
