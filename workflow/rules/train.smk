# One run: a backbone, a method, a seed. `base` trains nothing, so it has no seed: one run is registered, as seed0.
# In: a backbone, the train and val splits; never a test split. Out: <scratch>/runs/... (weights), results/.../run.json.


rule register_base:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
    output:
        adapter=f"<scratch>/runs/{{preset}}/{{backbone}}/{BASE}/seed{BASE_SEED}/adapter.json",
        run=f"results/{{preset}}/{{backbone}}/{BASE}/seed{BASE_SEED}/run.json",
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
        settings=lambda wildcards: job_settings.train_settings(config, wildcards.backbone, BASE),
        code=rule_fingerprint("slq.training.run_record"),
        scratch=scratch_folder,
        base=f"{BASE}/seed{BASE_SEED}",
    message:
        "Registering {wildcards.backbone} as it is"
    shell:
        "slq base --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone}"
        " --adapter {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{params.base}"
        " --run {output.run} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


# Image features, or keys and values, cached once if `training.image_cache` says so, for the runs of all seeds. The
# folder of the shards is keyed by their content, so that runs with other numbers of queries, learning rates and epochs
# share them; a kill loses one shard.
rule cache_features:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=training_manifests(),
    output:
        feature_cache="<scratch>/feature_cache/{preset}/{backbone}/{method}.json",
        events="results/{preset}/{backbone}/{method}/feature_cache.jsonl",
    log:
        "logs/{preset}/cache_features/{backbone}.{method}.log",
    benchmark:
        "benchmarks/{preset}/cache_features/{backbone}.{method}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(TRAINED_METHODS),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("train")
    resources:
        **cluster_resources("train"),
    params:
        settings=lambda wildcards: job_settings.feature_cache_settings(config, wildcards.backbone, wildcards.method),
        train_dataset=PRESET["train_dataset"],
        code=rule_fingerprint("slq.caching.build"),
        scratch=scratch_folder,
    message:
        "Caching image features of {wildcards.backbone} for {wildcards.method}"
    shell:
        "slq store --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone} --data {params.scratch}/data --train-dataset {params.train_dataset}"
        " --work {params.scratch}/feature_cache/shards --out {output.feature_cache} --events {output.events} --code {params.code}"
        " --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule train:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=training_manifests(),
        feature_cache=image_cache_files,
    output:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        run="results/{preset}/{backbone}/{method}/seed{seed}/run.json",
        events="results/{preset}/{backbone}/{method}/seed{seed}/events/train.jsonl",
    log:
        "logs/{preset}/train/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/train/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(TRAINED_METHODS),
        seed=wildcard_pattern(map(str, SEEDS)),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("train")
    resources:
        **cluster_resources("train"),
    params:
        settings=lambda wildcards: job_settings.train_settings(config, wildcards.backbone, wildcards.method),
        train_dataset=PRESET["train_dataset"],
        code=training_fingerprint,
        scratch=scratch_folder,
    message:
        "Training {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "slq train --settings {params.settings:q} --seed {wildcards.seed}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone} --data {params.scratch}/data --train-dataset {params.train_dataset}"
        " --work {params.scratch}/work --prefixes {input.feature_cache}"
        " --adapter {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}"
        " --run {output.run} --events {output.events} --code {params.code}"
        " --threads {resources.cpus_per_task} --processes {resources.gpu} --minutes {resources.runtime}"
        " 2>&1 | tee {log} >&2"


# On request, `snakemake --cores all lr_sweep`: the user copies the chosen rates into config.yaml, so that a run depends
# only on the values there. The first seed decides for all. No test split is read here either.
rule sweep_learning_rates:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=training_manifests(),
    output:
        lr_sweep="results/{preset}/{backbone}/{method}/seed{seed}/lr_sweep.json",
    log:
        "logs/{preset}/sweep_learning_rates/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/sweep_learning_rates/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(TRAINED_METHODS),
        seed=wildcard_pattern(map(str, SEEDS)),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("train")
    resources:
        **cluster_resources("train"),
    params:
        settings=lambda wildcards: job_settings.lr_sweep_settings(config, wildcards.backbone, wildcards.method),
        train_dataset=PRESET["train_dataset"],
        code=rule_fingerprint("slq.training.lr_sweep", "slq.evaluation.retrieval"),
        scratch=scratch_folder,
    message:
        "Sweeping learning rates of {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "slq select --settings {params.settings:q} --seed {wildcards.seed}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone} --data {params.scratch}/data --train-dataset {params.train_dataset}"
        " --work {params.scratch}/work --out {output.lr_sweep} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule lr_sweep:
    input:
        expand(
            f"{RUN_FOLDER}/lr_sweep.json",
            preset=config["preset"],
            backbone=PRESET["backbones"],
            method=TRAINED_METHODS,
            seed=SEEDS[0],
        ),
        reference_check_files(),
    localrule: True
