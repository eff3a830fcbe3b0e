# The baselines that the extended Table 1 shows beside the runs: comparators, zero-shot read-outs of backbones, and
# lists that a backbone re-ranks.
# In: a public or pre-trained model, or runs, the test splits. Out: metrics and ranks in
# results/<preset>/baselines/<name>.


rule evaluate_encoder_baseline:
    input:
        model=lambda wildcards: model_manifest(BASELINES[wildcards.baseline]),
        data=test_split_manifests("retrieval"),
    output:
        metrics=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval/{{dataset}}.json"),
        ranks=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval/{{dataset}}.ranks.parquet"),
        baseline="results/{preset}/baselines/{baseline}/baseline.json",
        events="results/{preset}/baselines/{baseline}/events/retrieval.jsonl",
    log:
        "logs/{preset}/evaluate_encoder_baseline/{baseline}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_encoder_baseline/{baseline}.jsonl"
    wildcard_constraints:
        baseline=wildcard_pattern(EMBEDDING_BASELINES),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        file=job_file(
            "evaluate_encoder_baseline",
            settings=lambda wildcards: baseline_settings.embed_settings(config, BASELINES[wildcards.baseline]),
            model_folder=lambda wildcards: f"<scratch>/{model_folder(BASELINES[wildcards.baseline])}",
            data="<scratch>/data",
            work="<scratch>/baselines/{preset}/{baseline}",
            out=BASELINE_FOLDER,
        ),
    message:
        "Retrieving with {wildcards.baseline}"
    shell:
        CLUSTER_JOB


# A backbone re-ranks the first candidates of a first stage, which is a run on it or a comparator's model
# (docs/rerank.md).
rule evaluate_reranking:
    input:
        first_stage=lambda wildcards: first_stage_manifest(BASELINES[wildcards.baseline]),
        reranker=lambda wildcards: f"<scratch>/{reranker_folder(BASELINES[wildcards.baseline])}/adapter.json",
        backbone=lambda wildcards: f"<scratch>/backbones/{BASELINES[wildcards.baseline].backbone}/manifest.json",
        data=test_split_manifests("retrieval"),
    output:
        metrics=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval/{{dataset}}.json"),
        ranks=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval/{{dataset}}.ranks.parquet"),
        orders=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval/{{dataset}}.reranked.jsonl"),
        baseline="results/{preset}/baselines/{baseline}/baseline.json",
        events="results/{preset}/baselines/{baseline}/events/retrieval.jsonl",
    log:
        "logs/{preset}/evaluate_reranking/{baseline}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_reranking/{baseline}.jsonl"
    wildcard_constraints:
        baseline=wildcard_pattern(RERANKING_BASELINES),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        file=job_file(
            "evaluate_reranking",
            settings=lambda wildcards: baseline_settings.rerank_settings(config, BASELINES[wildcards.baseline]),
            backbone_folder=lambda wildcards: f"<scratch>/backbones/{BASELINES[wildcards.baseline].backbone}",
            first_stage=lambda wildcards: f"<scratch>/{first_stage_folder(BASELINES[wildcards.baseline])}",
            reranker=lambda wildcards: f"<scratch>/{reranker_folder(BASELINES[wildcards.baseline])}",
            data="<scratch>/data",
            work="<scratch>/baselines/{preset}/{baseline}",
            out=BASELINE_FOLDER,
        ),
    message:
        "Re-ranking: {wildcards.baseline}"
    shell:
        CLUSTER_JOB


rule baselines:
    input:
        baseline_files(),
    localrule: True
