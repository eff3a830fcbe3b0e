# Evaluation of the baselines in the extended Table 1; each kind is a module of slq/baselines/kinds.
# Input: models or adapters of runs, and the test splits. Output: metrics and ranks in
# results/<preset>/baselines/<name>; re-ranking also writes the new orders, *.reranked.jsonl, which no rule reads.


rule evaluate_baseline:
    input:
        models=lambda wildcards: list(baseline_inputs(wildcards).values()),
        data=test_split_manifests("retrieval"),
    output:
        results=per_dataset("retrieval", f"{BASELINE_FOLDER}/retrieval", ".json", ".ranks.parquet"),
        baseline="results/{preset}/baselines/{baseline}/baseline.json",
        events="results/{preset}/baselines/{baseline}/events/retrieval.jsonl",
    log:
        "logs/{preset}/evaluate_baseline/{baseline}.log",
    benchmark:
        "benchmarks/{preset}/evaluate_baseline/{baseline}.jsonl"
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        job=job_call(
            "evaluate_baseline",
            slice_of(baseline_settings.baseline_settings, "baseline"),
            inputs=baseline_inputs,
            **BASELINE_PATHS,
        ),
    message:
        "Evaluating the baseline {wildcards.baseline}"
    shell:
        CLUSTER_JOB


rule baselines:
    input:
        baseline_files(),
    localrule: True
