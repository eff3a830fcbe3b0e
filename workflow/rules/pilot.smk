# The diagnostic pilot (Figure 2 of the poster) on the texts and images in `pilot` of a preset; on request.
# In: backbones, pictures. Out: results/<preset>/<backbone>/pilot.json, paper_tables/<preset>/figures/pilot.


rule measure_pilot:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        pictures=pilot_images,
    output:
        pilot="results/{preset}/{backbone}/pilot.json",
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
        settings=lambda wildcards: baseline_settings.pilot_settings(config, wildcards.backbone),
        code=rule_fingerprint("slq.baselines.pilot"),
        content_hash=pilot_images_hash,
        scratch=scratch_folder,
    message:
        "The pilot on {wildcards.backbone}"
    shell:
        "slq pilot measure --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone} --data {params.scratch}/data"
        " --out {output.pilot} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule render_pilot:
    input:
        results=expand("results/{{preset}}/{backbone}/pilot.json", backbone=PRESET["backbones"]),
        pictures=pilot_images,
    output:
        multiext("paper_tables/{preset}/figures/pilot", ".svg", ".png", ".csv"),
    log:
        "logs/{preset}/render_pilot.log",
    benchmark:
        "benchmarks/{preset}/render_pilot.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=lambda wildcards: baseline_settings.pilot_layout(config),
        code=rule_fingerprint("slq.reporting.pilot", "slq.datasets.pilot_images"),
        content_hash=pilot_images_hash,
        scratch=scratch_folder,
    message:
        "Drawing the pilot of {wildcards.preset}"
    shell:
        "slq pilot render --settings {params.settings:q} --results results --data {params.scratch}/data"
        " --out paper_tables/{wildcards.preset}/figures"
        " 2>&1 | tee {log} >&2"


rule pilot:
    input:
        f"paper_tables/{config['preset']}/figures/pilot.svg",
    localrule: True
