# Figures. Four figures, and a fifth if there are knowledge datasets, need only results/, so that a clone with results
# draws them without training. The figure of queries and their retrieved images also needs the images of a dataset.
# Input: results/<preset>, the values of the paper; for queries, a test split. Output: paper_tables/<preset>/figures, with all points as CSV.


rule draw_figures:
    input:
        results=table_results,
        knowledge=knowledge_results,
        evidence=figure_evidence_files,
        events=training_curve_events,
        reference=PAPER_MARGINS,
    output:
        margins=multiext("paper_tables/{preset}/figures/margins", ".svg", ".png"),
        recall=multiext("paper_tables/{preset}/figures/recall", ".svg", ".png"),
        retention=multiext("paper_tables/{preset}/figures/retention", ".svg", ".png"),
        training=multiext("paper_tables/{preset}/figures/training", ".svg", ".png"),
        scale=expand("paper_tables/{{preset}}/figures/{figure}.{kind}", figure=SCALE_FIGURES, kind=["svg", "png"]),
        points="paper_tables/{preset}/figures/figures.csv",
    log:
        "logs/{preset}/draw_figures.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "draw_figures",
            values=lambda wildcards: {"layout": job_settings.layout(config)},
            **REPORT_PATHS,
            output_folder="paper_tables/{preset}/figures",
        ),
    message:
        "Drawing the figures of {wildcards.preset}"
    shell:
        LOCAL_JOB


rule draw_queries:
    input:
        top=example_top_file(),
        data=manifest(EXAMPLE_RUN["name"], "test"),
    output:
        grid=multiext("paper_tables/{preset}/figures/queries", ".svg", ".png"),
        points="paper_tables/{preset}/figures/queries.csv",
    log:
        "logs/{preset}/draw_queries.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "draw_queries",
            lambda wildcards: job_settings.queries_settings(config, **EXAMPLE_RUN),
            top=example_top_file(),
            results="results",
            data=DATA,
            out="paper_tables/{preset}/figures",
        ),
    message:
        "Drawing queries of {wildcards.preset} and the images that they retrieve"
    shell:
        LOCAL_JOB


rule figures:
    input:
        figure_files(),
    localrule: True
