# Tables 1 and 3, GPU hours, answers by type, intervals, comparisons, other counts and the extended Table 1. They need
# only results/, so that a clone with results renders them without training.
# Input: results/<preset>, the paper's values, the templates. Output: paper_tables/<preset>.


rule render_tables:
    input:
        results=table_results,
        baselines=baseline_results,
        evidence=evidence_files,
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
        templates=sorted(Path("paper_tables/templates").glob("*.j2")),
    output:
        tables=expand("paper_tables/{{preset}}/{table}.{kind}", table=TABLES, kind=["tex", "html"]),
        document="paper_tables/{preset}/tables.tex",
        cells="paper_tables/{preset}/cells.csv",
        text="paper_tables/{preset}/table3.txt",
    log:
        "logs/{preset}/render_tables.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "render_tables",
            values=layout_values,
            content=searches_hash,
            **REPORT_PATHS,
            templates="paper_tables/templates",
            output="paper_tables/{preset}",
        ),
    message:
        "Rendering the tables of {wildcards.preset}"
    shell:
        LOCAL_JOB


rule compile_pdf:
    input:
        document="paper_tables/{preset}/tables.tex",
        parts=expand("paper_tables/{{preset}}/{table}.tex", table=TABLES),
    output:
        pdf="paper_tables/{preset}/tables.pdf",
    log:
        "logs/{preset}/compile_pdf.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call("compile_pdf", tex="paper_tables/{preset}/tables.tex", pdf="paper_tables/{preset}/tables.pdf"),
    message:
        "Compiling {output.pdf}"
    shell:
        LOCAL_JOB


rule tables:
    input:
        table_files(),
    localrule: True
