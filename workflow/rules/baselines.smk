# The baselines that the extended Table 1 shows beside the runs: comparators, zero-shot read-outs of backbones, and
# lists that a backbone re-ranks.
# In: a public or pre-trained model, or runs, the test splits. Out: metrics and ranks in
# results/<preset>/baselines/<name>.


rule evaluate_encoder_baseline:
    input:
        model=lambda wildcards: model_manifest(BASELINES[wildcards.baseline]),
        data=test_split_manifests("retrieval"),
    output:
        results=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval", ".json", ".ranks.parquet"),
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
        job=job_call(
            "evaluate_encoder_baseline",
            baseline_slice(baseline_settings.embed_settings),
            model_folder=baseline_path(model_folder),
            **BASELINE_PATHS,
        ),
    message:
        "Retrieving with {wildcards.baseline}"
    shell:
        CLUSTER_JOB


# A backbone re-ranks the first candidates of a first stage, which is a run on it or a comparator's model
# (docs/rerank.md).
use rule evaluate_encoder_baseline as evaluate_reranking with:
    input:
        first_stage=lambda wildcards: first_stage_manifest(BASELINES[wildcards.baseline]),
        reranker=lambda wildcards: f"<scratch>/{reranker_folder(BASELINES[wildcards.baseline])}/adapter.json",
        backbone=lambda wildcards: f"<scratch>/backbones/{BASELINES[wildcards.baseline].backbone}/manifest.json",
        data=test_split_manifests("retrieval"),
    output:
        results=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval", ".json", ".ranks.parquet", ".reranked.jsonl"),
        baseline="results/{preset}/baselines/{baseline}/baseline.json",
        events="results/{preset}/baselines/{baseline}/events/retrieval.jsonl",
    log:
        "logs/{preset}/evaluate_reranking/{baseline}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_reranking/{baseline}.jsonl"
    wildcard_constraints:
        baseline=wildcard_pattern(RERANKING_BASELINES),
    params:
        job=job_call(
            "evaluate_reranking",
            baseline_slice(baseline_settings.rerank_settings),
            backbone_folder=baseline_path(backbone_folder),
            first_stage=baseline_path(first_stage_folder),
            reranker=baseline_path(reranker_folder),
            **BASELINE_PATHS,
        ),
    message:
        "Re-ranking: {wildcards.baseline}"


rule baselines:
    input:
        baseline_files(),
    localrule: True
