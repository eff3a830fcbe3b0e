# Pre-trained backbones and dual encoders of the mini preset. Their weights are shipped with the repository or trained
# here (`pretrained` in config.yaml). All other models are fetched (sources.smk).
# Output: <scratch>/backbones/<backbone>, <scratch>/encoders/<encoder>, complete when its manifest.json exists.


rule pretrain_backbone:
    input:
        train=lambda wildcards: manifest(config["backbones"][wildcards.backbone]["pretrain"]["dataset"], "train"),
    output:
        manifest="<scratch>/backbones/{backbone}/manifest.json",
    log:
        "logs/backbones/pretrain_backbone/{backbone}.log",
    benchmark:
        "benchmarks/backbones/pretrain_backbone/{backbone}.jsonl"
    wildcard_constraints:
        backbone=wildcard_pattern(names_with_key("backbones", "pretrain")),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("pretrain")
    resources:
        **cluster_resources("pretrain"),
    params:
        job=job_call(
            "pretrain_backbone",
            slice_of(job_settings.pretrain_settings, "backbone"),
            data=DATA,
            shipped=SHIPPED_WEIGHTS,
            out="<scratch>/backbones/{backbone}",
        ),
    message:
        "Pre-training {wildcards.backbone}"
    shell:
        CLUSTER_JOB


rule pretrain_encoder:
    input:
        train=lambda wildcards: manifest(config["encoders"][wildcards.encoder]["pretrain"]["dataset"], "train"),
    output:
        manifest="<scratch>/encoders/{encoder}/manifest.json",
    log:
        "logs/encoders/pretrain_encoder/{encoder}.log",
    benchmark:
        "benchmarks/encoders/pretrain_encoder/{encoder}.jsonl"
    wildcard_constraints:
        encoder=wildcard_pattern(names_with_key("encoders", "pretrain")),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("pretrain")
    resources:
        **cluster_resources("pretrain"),
    params:
        job=job_call(
            "pretrain_encoder",
            slice_of(job_settings.pretrain_encoder_settings, "encoder"),
            data=DATA,
            shipped=SHIPPED_WEIGHTS,
            out="<scratch>/encoders/{encoder}",
        ),
    message:
        "Pre-training {wildcards.encoder}"
    shell:
        CLUSTER_JOB


rule pretrain:
    input:
        expand("<scratch>/backbones/{backbone}/manifest.json", backbone=names_with_key("backbones", "pretrain")),
        expand("<scratch>/encoders/{encoder}/manifest.json", encoder=names_with_key("encoders", "pretrain")),
    localrule: True
