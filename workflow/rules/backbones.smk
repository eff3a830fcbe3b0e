# Backbones as snapshots: pre-trained here, or fetched from the hub or a folder.
# Out: <scratch>/backbones/<backbone>, complete when its manifest.json is there.


rule pretrain_backbone:
    input:
        train=lambda wildcards: manifest(config["backbones"][wildcards.backbone]["pretrain"]["set"], "train"),
    output:
        manifest="<scratch>/backbones/{backbone}/manifest.json",
    log:
        "logs/backbones/pretrain_backbone/{backbone}.log",
    benchmark:
        "benchmarks/backbones/pretrain_backbone/{backbone}.jsonl"
    wildcard_constraints:
        backbone=one_of(having("backbones", "pretrain")),
    conda:
        "../../envs/slq.yaml"
    threads: cpus("pretrain")
    resources:
        **request("pretrain"),
    params:
        settings=lambda wildcards: settings.pretrain_settings(config, wildcards.backbone),
        code=family_code("world", "models", "data/questions.py"),
        scratch=scratch_folder,
    message:
        "Pre-training {wildcards.backbone}"
    shell:
        "slq pretrain --settings {params.settings:q} --data {params.scratch}/data"
        " --out {params.scratch}/backbones/{wildcards.backbone} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


# Local, because compute nodes often lack internet; without a code hash, because no edit is worth a second download.
rule fetch_snapshot:
    output:
        manifest="<scratch>/{catalogue}/{model}/manifest.json",
    log:
        "logs/{catalogue}/fetch_snapshot/{model}.log",
    benchmark:
        "benchmarks/{catalogue}/fetch_snapshot/{model}.jsonl"
    wildcard_constraints:
        catalogue="backbones|encoders",
        model=one_of([*having("backbones", "hub", "local"), *having("encoders", "hub", "local")]),
    priority: 10  # a snapshot that is missing is found before hours are spent on another
    localrule: True
    conda:
        "../../envs/slq.yaml"
    resources:
        gate=lambda wildcards: GATE if wildcards.catalogue == "encoders" else 0,
    params:
        settings=lambda wildcards: settings.fetch_settings(config, wildcards.catalogue, wildcards.model),
        scratch=scratch_folder,
    message:
        "Fetching {wildcards.model}"
    shell:
        "slq fetch --settings {params.settings:q} --out {params.scratch}/{wildcards.catalogue}/{wildcards.model}"
        " 2>&1 | tee {log} >&2"


# All that needs the network or a person's folders, on the host that has them.
rule fetch:
    input:
        learning_manifests(),
        test_manifests("retrieval"),
        test_manifests("retention"),
        backbone_manifests(),
        encoder_manifests(),
