# Rows of the extended Table 1 that are no runs: comparators, backbones that are read out without training, and lists that
# a backbone re-ranks.
# In: a public or pre-trained model, or runs, the test splits. Out: metrics and ranks in results/<preset>/rows/<row>.


rule embed_row:
    input:
        model=lambda wildcards: model_manifest(BASELINES[wildcards.row]),
        data=test_split_manifests("retrieval"),
    output:
        metrics=expand(f"{BASELINE_FOLDER}/retrieval/{{set}}.json", set=PRESET["retrieval_sets"], allow_missing=True),
        ranks=expand(
            f"{BASELINE_FOLDER}/retrieval/{{set}}.ranks.parquet", set=PRESET["retrieval_sets"], allow_missing=True
        ),
        row="results/{preset}/rows/{row}/row.json",
        events="results/{preset}/rows/{row}/events/retrieve.jsonl",
    log:
        "logs/{preset}/embed_row/{row}.log",
    benchmark:
        "benchmarks/{preset}/embed_row/{row}.jsonl"
    wildcard_constraints:
        row=wildcard_pattern(EMBEDDING_BASELINES),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        settings=lambda wildcards: baseline_settings.embed_settings(config, BASELINES[wildcards.row]),
        model=lambda wildcards: model_folder(BASELINES[wildcards.row]),
        code=rule_fingerprint("slq.baselines.encode"),
        scratch=scratch_folder,
    message:
        "Retrieving with {wildcards.row}"
    shell:
        "slq embed --settings {params.settings:q} --model {params.scratch}/{params.model} --data {params.scratch}/data"
        " --work {params.scratch}/rows/{wildcards.preset}/{wildcards.row}"
        " --out results/{wildcards.preset}/rows/{wildcards.row} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


# A backbone looks again at the first candidates of a coarse list, which a run on it or a comparator's model finds
# (docs/rerank.md).
rule rerank_row:
    input:
        coarse=lambda wildcards: first_stage_manifest(BASELINES[wildcards.row]),
        by=lambda wildcards: f"<scratch>/{reranker_folder(BASELINES[wildcards.row])}/adapter.json",
        backbone=lambda wildcards: f"<scratch>/backbones/{BASELINES[wildcards.row].backbone}/manifest.json",
        data=test_split_manifests("retrieval"),
    output:
        metrics=expand(f"{BASELINE_FOLDER}/retrieval/{{set}}.json", set=PRESET["retrieval_sets"], allow_missing=True),
        ranks=expand(
            f"{BASELINE_FOLDER}/retrieval/{{set}}.ranks.parquet", set=PRESET["retrieval_sets"], allow_missing=True
        ),
        orders=expand(
            f"{BASELINE_FOLDER}/retrieval/{{set}}.reranked.jsonl", set=PRESET["retrieval_sets"], allow_missing=True
        ),
        row="results/{preset}/rows/{row}/row.json",
        events="results/{preset}/rows/{row}/events/retrieve.jsonl",
    log:
        "logs/{preset}/rerank_row/{row}.log",
    benchmark:
        "benchmarks/{preset}/rerank_row/{row}.jsonl"
    wildcard_constraints:
        row=wildcard_pattern(RERANKING_BASELINES),
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        settings=lambda wildcards: baseline_settings.rerank_settings(config, BASELINES[wildcards.row]),
        backbone=lambda wildcards: f"backbones/{BASELINES[wildcards.row].backbone}",
        coarse=lambda wildcards: first_stage_folder(BASELINES[wildcards.row]),
        by=lambda wildcards: reranker_folder(BASELINES[wildcards.row]),
        code=rule_fingerprint("slq.baselines.rerank"),
        scratch=scratch_folder,
    message:
        "Re-ranking: {wildcards.row}"
    shell:
        "slq rerank --settings {params.settings:q} --backbone {params.scratch}/{params.backbone}"
        " --coarse {params.scratch}/{params.coarse} --by {params.scratch}/{params.by} --data {params.scratch}/data"
        " --work {params.scratch}/rows/{wildcards.preset}/{wildcards.row}"
        " --out results/{wildcards.preset}/rows/{wildcards.row} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule rows:
    input:
        baseline_files(),
    localrule: True
