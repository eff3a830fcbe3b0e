# Backbones and dual encoders that are made here; others are fetched (sources.smk).
# Out: <scratch>/backbones/<backbone>, <scratch>/encoders/<encoder>, complete when its manifest.json is there.


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
        settings=lambda wildcards: slices.pretrain_settings(config, wildcards.backbone),
        code=code_of("slq.synthetic.backbones"),
        scratch=scratch_folder,
    message:
        "Pre-training {wildcards.backbone}"
    shell:
        "slq pretrain --settings {params.settings:q} --data {params.scratch}/data"
        " --out {params.scratch}/backbones/{wildcards.backbone} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule pretrain_encoder:
    input:
        train=lambda wildcards: manifest(config["encoders"][wildcards.encoder]["pretrain"]["set"], "train"),
    output:
        manifest="<scratch>/encoders/{encoder}/manifest.json",
    log:
        "logs/encoders/pretrain_encoder/{encoder}.log",
    benchmark:
        "benchmarks/encoders/pretrain_encoder/{encoder}.jsonl"
    wildcard_constraints:
        encoder=one_of(having("encoders", "pretrain")),
    conda:
        "../../envs/slq.yaml"
    threads: cpus("pretrain")
    resources:
        **request("pretrain"),
    params:
        settings=lambda wildcards: slices.pretrain_encoder_settings(config, wildcards.encoder),
        code=code_of("slq.synthetic.encoders"),
        scratch=scratch_folder,
    message:
        "Pre-training {wildcards.encoder}"
    shell:
        "slq pretrain-encoder --settings {params.settings:q} --data {params.scratch}/data"
        " --out {params.scratch}/encoders/{wildcards.encoder} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"
