# The pilot of the poster's Figure 2, on the texts and images in `pilot` of a preset; on request.
# Input: backbones, images. Output: results/<preset>/<backbone>/pilot.json, paper_tables/<preset>/figures/pilot.


rule measure_pilot:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        pictures=pilot_images,
    output:
        out="results/{preset}/{backbone}/pilot.json",
    log:
        "logs/{preset}/measure_pilot/{backbone}.log",
    benchmark:
        "benchmarks/{preset}/measure_pilot/{backbone}.jsonl"
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        job=job_call(
            "measure_pilot",
            slice_of(baseline_settings.pilot_settings, "backbone"),
            content=pilot_images_hash,
            **BACKBONE_PATHS,
        ),
    message:
        "Running the pilot on {wildcards.backbone}"
    shell:
        CLUSTER_JOB


rule render_pilot:
    input:
        results=expand("results/{{preset}}/{backbone}/pilot.json", backbone=PRESET["backbones"]),
        pictures=pilot_images,
    output:
        multiext("paper_tables/{preset}/figures/pilot", ".svg", ".png", ".csv"),
    log:
        "logs/{preset}/render_pilot.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "render_pilot",
            slice_of(baseline_settings.pilot_layout),
            content=pilot_images_hash,
            results="results",
            data=DATA,
            out="paper_tables/{preset}/figures",
        ),
    message:
        "Drawing the pilot of {wildcards.preset}"
    shell:
        LOCAL_JOB


rule pilot:
    input:
        f"paper_tables/{config['preset']}/figures/pilot.svg",
    localrule: True
