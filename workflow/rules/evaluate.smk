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
        events="results/{preset}/{backbone}/{method}/seed{seed}/events/retrieval.jsonl",
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
        settings=lambda wildcards: job_settings.retrieval_settings(config, wildcards.backbone),
        code=rule_fingerprint("slq.evaluation.retrieval"),
        scratch=scratch_folder,
    message:
        "Retrieving with {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "slq retrieve --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone}"
        " --adapter {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}"
        " --data {params.scratch}/data"
        " --out results/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}/retrieval"
        " --events {output.events} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule evaluate_retention:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
    output:
        metrics=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.json"),
        answers=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.answers.jsonl"),
        differing=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.disagreements.jsonl"),
        retained="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/retained.json",
        events="results/{preset}/{backbone}/{method}/seed{seed}/events/retention.jsonl",
    log:
        "logs/{preset}/evaluate_retention/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_retention/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern({BASE, *PRESET["methods"]} - {*INHERITING_METHODS}),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        settings=lambda wildcards: job_settings.retention_settings(config, wildcards.backbone),
        code=rule_fingerprint("slq.evaluation.retention"),
        generation=rule_fingerprint("slq.evaluation.generation", "slq.methods.adapter"),
        scratch=scratch_folder,
    message:
        "Evaluating retention of {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "slq retain --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone}"
        " --adapter {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}"
        " --data {params.scratch}/data"
        " --out results/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}/retention"
        " --work {params.scratch}/work --code {params.generation}"
        " --retained {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}/retained.json"
        " --events {output.events} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


# For a method that does not change the backbone: a check that its answers are base's, in place of answers of its own.
# Its input in results/ is named by base's retained.json, in scratch: an edge between results would start runs in a
# copy of results.
rule check_equivalence:
    input:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=test_split_manifests("retention"),
        retained=f"<scratch>/runs/{{preset}}/{{backbone}}/{BASE}/seed{BASE_SEED}/retained.json",
    output:
        metrics=per_dataset("retention", f"{RUN_FOLDER}/retention/{{dataset}}.json"),
        events="results/{preset}/{backbone}/{method}/seed{seed}/events/equivalence.jsonl",
    log:
        "logs/{preset}/check_equivalence/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/check_equivalence/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(INHERITING_METHODS),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        settings=lambda wildcards: job_settings.equivalence_settings(config, wildcards.backbone),
        code=rule_fingerprint("slq.evaluation.equivalence"),
        scratch=scratch_folder,
        base=f"{BASE}/seed{BASE_SEED}",
    message:
        "Checking that {wildcards.method} on {wildcards.backbone} answers as base, seed {wildcards.seed}"
    shell:
        "slq prove --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone}"
        " --adapter {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}"
        " --data {params.scratch}/data"
        " --base results/{wildcards.preset}/{wildcards.backbone}/{params.base}/retention --retained {input.retained}"
        " --out results/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}/retention"
        " --events {output.events} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


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
        events="results/{preset}/{backbone}/{method}/seed{seed}/events/blind.jsonl",
    log:
        "logs/{preset}/evaluate_blind/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_blind/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=BASE,
        seed=str(BASE_SEED),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        settings=lambda wildcards: job_settings.retention_settings(config, wildcards.backbone),
        code=rule_fingerprint("slq.evaluation.retention"),
        generation=rule_fingerprint("slq.evaluation.generation", "slq.methods.adapter"),
        scratch=scratch_folder,
    message:
        "Evaluating {wildcards.method} on {wildcards.backbone} without images"
    shell:
        "slq blind --settings {params.settings:q}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone}"
        " --adapter {params.scratch}/runs/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}"
        " --data {params.scratch}/data"
        " --out results/{wildcards.preset}/{wildcards.backbone}/{wildcards.method}/seed{wildcards.seed}/blind"
        " --work {params.scratch}/work --code {params.generation}"
        " --events {output.events} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"
