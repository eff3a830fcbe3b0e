# Training of a run, which is a backbone, a method and a seed. `base` is not trained and has no seed: it is registered
# as one run, seed0. Input: a backbone and the train and val splits; never a test split.
# Output: weights in <scratch>/runs/..., results/.../run.json.


rule register_base:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
    output:
        adapter=f"{BASE_FOLDER}/adapter.json",
        run_file=f"results/{{preset}}/{{backbone}}/{BASE}/seed{BASE_SEED}/run.json",
    log:
        "logs/{preset}/register_base/{backbone}.log",
    benchmark:
        "benchmarks/{preset}/register_base/{backbone}.jsonl"
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("prepare")
    resources:
        **cluster_resources("prepare", gate=0),
    params:
        job=job_call("register_base", base_settings, backbone_folder=BACKBONE_FOLDER, adapter_folder=BASE_FOLDER),
    message:
        "Registering the untouched {wildcards.backbone}"
    shell:
        CLUSTER_JOB


# Cache of image features or of KV caches for the runs of all seeds, if `training.image_cache` needs one. The folder of
# the shards is named by a hash of what determines their content, so that runs with different numbers of queries,
# learning rates or epochs share it. A killed job loses at most one shard.
use rule register_base as cache_features with:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=training_manifests(),
    output:
        out="<scratch>/feature_cache/{preset}/{backbone}/{method}.json",
        events_file="results/{preset}/{backbone}/{method}/feature_cache.jsonl",
    log:
        "logs/{preset}/cache_features/{backbone}.{method}.log",
    benchmark:
        "benchmarks/{preset}/cache_features/{backbone}.{method}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(TRAINED_METHODS),
    threads: stage_cpus("train")
    resources:
        **cluster_resources("train"),
    params:
        job=job_call(
            "cache_features",
            slice_of(job_settings.feature_cache_settings, "backbone", "method"),
            training_values,
            required=REQUIRED_CHECKS,
            work="<scratch>/feature_cache/shards",
            **BACKBONE_PATHS,
        ),
    message:
        "Caching image features of {wildcards.backbone} for {wildcards.method}"


use rule register_base as train with:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=training_manifests(),
        feature_cache=image_cache_files,
    output:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        run_file="results/{preset}/{backbone}/{method}/seed{seed}/run.json",
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/train.jsonl",
    log:
        "logs/{preset}/train/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/train/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=with_trials(TRAINED_METHODS),
        seed=wildcard_pattern(map(str, SEEDS)),
    threads: stage_cpus("train")
    resources:
        **cluster_resources("train"),
    params:
        job=job_call(
            "train",
            slice_of(job_settings.train_settings, "backbone", "method"),
            train_values,
            cache_manifest=lambda wildcards: next(iter(image_cache_files(wildcards)), None),
            adapter_folder=ADAPTER_FOLDER,
            **TRAINING_PATHS,
        ),
    message:
        "Training {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"


# Learning-rate search, on request: `snakemake --cores all lr_sweep`, with the first seed. Its trials are runs of the rule
# `train`. A best rate at an edge of the grid adds a round with a further rate. The user copies the chosen rates into
# config.yaml, so that a run depends only on the values there. No test split is read.
checkpoint choose_learning_rate:
    input:
        runs=trial_files,
    output:
        output_file=SEARCH_FILE,
    log:
        "logs/{preset}/choose_learning_rate/{backbone}.{method}.seed{seed}.round{round}.log",
    wildcard_constraints:
        **trained_runs(),
        round=r"\d+",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call("choose_learning_rate", slice_of(job_settings.lr_sweep_settings, "method"), runs=trial_files),
    message:
        "Choosing the learning rate of {wildcards.method} on {wildcards.backbone}"
    shell:
        LOCAL_JOB


rule sweep_learning_rates:
    input:
        last_round,
    output:
        "results/{preset}/{backbone}/{method}/seed{seed}/lr_sweep.json",
    log:
        "logs/{preset}/sweep_learning_rates/{backbone}.{method}.seed{seed}.log",
    wildcard_constraints:
        **trained_runs(),
    localrule: True
    conda:
        "../../envs/slq.yaml"
    message:
        "Storing the learning-rate search of {wildcards.method} on {wildcards.backbone}"
    shell:
        "cp {input} {output} 2> {log}"


rule lr_sweep:
    input:
        search_files(TRAINED_METHODS),
        reference_check_files(),
    localrule: True
