# Figures: three from results/ alone, and a fourth if there are knowledge datasets, so that a clone with results draws
# them and trains nothing; one of queries and the images retrieved for them, which needs the images of a dataset.
# In: results/<preset>, for the queries a test split. Out: paper_tables/<preset>/figures, with every point as CSV.


rule draw_figures:
    input:
        results=table_results,
        knowledge=knowledge_results,
        evidence=figure_evidence_files,
        events=training_curve_events,
    output:
        recall=multiext("paper_tables/{preset}/figures/recall", ".svg", ".png"),
        retention=multiext("paper_tables/{preset}/figures/retention", ".svg", ".png"),
        training=multiext("paper_tables/{preset}/figures/training", ".svg", ".png"),
        scale=expand("paper_tables/{{preset}}/figures/{figure}.{kind}", figure=SCALE_FIGURES, kind=["svg", "png"]),
        points="paper_tables/{preset}/figures/figures.csv",
    log:
        "logs/{preset}/draw_figures.log",
    benchmark:
        "benchmarks/{preset}/draw_figures.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        layout=job_settings.layout(config),
        code=rule_fingerprint("slq.reporting.figures"),
    message:
        "Drawing the figures of {wildcards.preset}"
    shell:
        "slq figures --layout {params.layout:q} --results results --out paper_tables/{wildcards.preset}/figures"
        " 2>&1 | tee {log} >&2"


rule draw_queries:
    input:
        top=example_top_file(),
        data=manifest(EXAMPLE_RUN["name"], "test"),
    output:
        grid=multiext("paper_tables/{preset}/figures/queries", ".svg", ".png"),
        points="paper_tables/{preset}/figures/queries.csv",
    log:
        "logs/{preset}/draw_queries.log",
    benchmark:
        "benchmarks/{preset}/draw_queries.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=job_settings.queries_settings(config, **EXAMPLE_RUN),
        code=rule_fingerprint("slq.reporting.queries", "slq.datasets.splits"),
        scratch=scratch_folder,
    message:
        "Drawing what queries of {wildcards.preset} find"
    shell:
        "slq queries --settings {params.settings:q} --top {input.top} --results results"
        " --data {params.scratch}/data --out paper_tables/{wildcards.preset}/figures"
        " 2>&1 | tee {log} >&2"


rule figures:
    input:
        figure_files(),
    localrule: True
