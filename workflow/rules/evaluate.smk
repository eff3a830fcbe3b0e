# Evaluation of a run on the test splits: retrieval for Tables 1 and 3, retention for Table 3 and the table of answers
# by type. One job evaluates all datasets of a kind, because loading a backbone takes longer than one more dataset.
# Input: a run's weights, its backbone, test splits. Output in results/: metrics, and the ranks, retrieved images or
# answers that they are computed from.


rule evaluate_retrieval:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=[*test_split_manifests("retrieval"), *test_split_manifests("knowledge")],
    output:
        results=per_dataset("retrieved", f"{RUN_FOLDER}/retrieval", ".json", ".ranks.parquet", ".top.jsonl"),
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/retrieval.jsonl",
    log:
        "logs/{preset}/evaluate_retrieval/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_retrieval/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=with_points(PRESET["methods"]),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        job=job_call(
            "evaluate_retrieval",
            slice_of(job_settings.retrieval_settings, "backbone"),
            out=f"{RUN_FOLDER}/retrieval",
            **RUN_PATHS,
        ),
    message:
        "Retrieving with {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        CLUSTER_JOB


use rule evaluate_retrieval as evaluate_retention with:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
    output:
        results=per_dataset("retention", f"{RUN_FOLDER}/retention", ".json", ".answers.jsonl", ".disagreements.jsonl"),
        answer_hashes_file="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/retained.json",
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/retention.jsonl",
    log:
        "logs/{preset}/evaluate_retention/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_retention/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=with_points(name for name in (BASE, *PRESET["methods"]) if name not in INHERITING_METHODS),
    params:
        job=job_call(
            "evaluate_retention",
            slice_of(job_settings.retention_settings, "backbone"),
            generates=True,
            out=f"{RUN_FOLDER}/retention",
            work=WORK,
            **RUN_PATHS,
        ),
    message:
        "Evaluating retention of {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"


# For a method that does not change the backbone: a check that its answers equal base's, instead of a full evaluation.
# The input is base's retained.json in scratch, which names base's files in results/: with a result as input of another
# result, a copy of results would start runs.
use rule evaluate_retrieval as check_equivalence with:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
        retained=BASE_ANSWERS,
    output:
        results=per_dataset("retention", f"{RUN_FOLDER}/retention", ".json"),
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/equivalence.jsonl",
    log:
        "logs/{preset}/check_equivalence/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/check_equivalence/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=with_points(INHERITING_METHODS),
    params:
        job=job_call(
            "check_equivalence",
            slice_of(job_settings.equivalence_settings, "backbone"),
            out=f"{RUN_FOLDER}/retention",
            base_folder=BASE_RETENTION,
            answer_hashes_file=BASE_ANSWERS,
            **RUN_PATHS,
        ),
    message:
        "Checking that {wildcards.method} on {wildcards.backbone} answers like base, seed {wildcards.seed}"


# Base's answers to the questions without their images: the score that the wording of the questions alone explains.
use rule evaluate_retrieval as evaluate_blind with:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
    output:
        results=per_dataset("retention", f"{RUN_FOLDER}/blind", ".json", ".answers.jsonl", ".disagreements.jsonl"),
        events_file="results/{preset}/{backbone}/{method}/seed{seed}/events/blind.jsonl",
    log:
        "logs/{preset}/evaluate_blind/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_blind/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=BASE,
        seed=str(BASE_SEED),
    params:
        job=job_call(
            "evaluate_blind",
            slice_of(job_settings.retention_settings, "backbone"),
            lambda wildcards: {"with_images": False},
            generates=True,
            out=f"{RUN_FOLDER}/blind",
            work=WORK,
            **RUN_PATHS,
        ),
    message:
        "Evaluating {wildcards.method} on {wildcards.backbone} without images"
