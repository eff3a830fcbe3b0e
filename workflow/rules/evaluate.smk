# A run's metrics on the test splits: retrieval for Tables 1 and 3, retention for Table 3 and the table of answers by
# type. One job per run and kind: loading a backbone costs more than evaluating one more dataset.
# In: a run's weights, its backbone, test splits. Out: metrics, and the ranks, best images or answers behind them, in
# results/.


rule evaluate_retrieval:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=[*test_split_manifests("retrieval"), *test_split_manifests("knowledge")],
    output:
        metrics=per_dataset("retrieved", f"{RUN_FOLDER}/retrieval/{{dataset}}.json"),
        ranks=per_dataset("retrieved", f"{RUN_FOLDER}/retrieval/{{dataset}}.ranks.parquet"),
        top=per_dataset("retrieved", f"{RUN_FOLDER}/retrieval/{{dataset}}.top.jsonl"),
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/retrieval.jsonl",
    log:
        "logs/{preset}/evaluate_retrieval/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_retrieval/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(PRESET["methods"]),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        file=job_file(
            "evaluate_retrieval",
            settings=lambda wildcards: job_settings.retrieval_settings(config, wildcards.backbone),
            out=f"{RUN_FOLDER}/retrieval",
            **RUN_PATHS,
        ),
    message:
        "Retrieving with {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        CLUSTER_JOB


rule evaluate_retention:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
    output:
        metrics=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.json"),
        answers=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.answers.jsonl"),
        differing=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.disagreements.jsonl"),
        answer_hashes_file="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/retained.json",
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/retention.jsonl",
    log:
        "logs/{preset}/evaluate_retention/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_retention/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern({"base", *PRESET["methods"]} - {*INHERITING_METHODS}),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        file=job_file(
            "evaluate_retention",
            settings=lambda wildcards: job_settings.retention_settings(config, wildcards.backbone),
            values=lambda wildcards: {"code_fingerprint": generation_code(wildcards)},
            work="<scratch>/work",
            out=f"{RUN_FOLDER}/retention",
            **RUN_PATHS,
        ),
    message:
        "Evaluating retention of {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        CLUSTER_JOB


# For a method that does not change the backbone: a check that its answers are base's, in place of answers of its own.
# Its input in results/ is named by base's retained.json, in scratch: an edge between results would start runs in a
# copy of results.
rule check_equivalence:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
        retained=RETAINED_ANSWERS,
    output:
        metrics=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.json"),
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/equivalence.jsonl",
    log:
        "logs/{preset}/check_equivalence/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/check_equivalence/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern({*PRESET["methods"]} & {*INHERITING_METHODS}),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        file=job_file(
            "check_equivalence",
            settings=lambda wildcards: job_settings.equivalence_settings(config, wildcards.backbone),
            base_folder=f"results/{{preset}}/{{backbone}}/base/seed{BASE_SEED}/retention",
            answer_hashes_file=RETAINED_ANSWERS,
            out=f"{RUN_FOLDER}/retention",
            **RUN_PATHS,
        ),
    message:
        "Checking that {wildcards.method} on {wildcards.backbone} answers as base, seed {wildcards.seed}"
    shell:
        CLUSTER_JOB


# Base's answers without the images: the part of a score that the wording of the questions explains.
rule evaluate_blind:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
    output:
        metrics=per_dataset("retention", f"{RUN_FOLDER}/blind/{{dataset}}.json"),
        answers=per_dataset("retention", f"{RUN_FOLDER}/blind/{{dataset}}.answers.jsonl"),
        differing=per_dataset("retention", f"{RUN_FOLDER}/blind/{{dataset}}.disagreements.jsonl"),
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/blind.jsonl",
    log:
        "logs/{preset}/evaluate_blind/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_blind/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method="base",
        seed=str(BASE_SEED),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        file=job_file(
            "evaluate_blind",
            settings=lambda wildcards: job_settings.retention_settings(config, wildcards.backbone),
            values=lambda wildcards: {"code_fingerprint": generation_code(wildcards), "with_images": False},
            work="<scratch>/work",
            out=f"{RUN_FOLDER}/blind",
            **RUN_PATHS,
        ),
    message:
        "Evaluating {wildcards.method} on {wildcards.backbone} without images"
    shell:
        CLUSTER_JOB
