# Datasets in the prepared form (docs/data.md): synthetic, prepared from a source, imported from a folder, or of
# user-written queries; and the leak audit of all of them.
# In: nothing, a fetched source, a folder named by `local_dir`, or another dataset and a file named by `queries`.
# Out: <scratch>/data/<dataset>/<split>, results/<preset>/audit.json.


rule make_synthetic_split:
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/make_synthetic_split/{dataset}.{split}.log",
    benchmark:
        "benchmarks/data/make_synthetic_split/{dataset}.{split}.jsonl"
    wildcard_constraints:
        dataset=wildcard_pattern(names_with_key("datasets", "synthetic")),
    priority: 10  # datasets that the reference check may need come first
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("prepare")
    resources:
        **cluster_resources("prepare", gate=split_gate_tokens),
    params:
        settings=lambda wildcards: job_settings.synthetic_split_settings(config, wildcards.dataset, wildcards.split),
        code=rule_fingerprint("slq.synthetic.datasets"),
        scratch=scratch_folder,
    message:
        "Drawing {wildcards.dataset}, {wildcards.split} split"
    shell:
        "slq draw --settings {params.settings:q} --out {params.scratch}/data/{wildcards.dataset}/{wildcards.split}"
        " 2>&1 | tee {log} >&2"


# Datasets of a fetched source: images stay in its folder, questions are unpacked.
rule prepare_split:
    input:
        source=source_manifest,
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/prepare_split/{dataset}.{split}.log",
    benchmark:
        "benchmarks/data/prepare_split/{dataset}.{split}.jsonl"
    wildcard_constraints:
        dataset=wildcard_pattern(names_with_key("datasets", "source")),
    priority: 10  # find an error in a dataset before hours are spent on another
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("prepare")
    resources:
        **cluster_resources("prepare", gate=split_gate_tokens),
    params:
        settings=lambda wildcards: job_settings.prepare_settings(
            config, wildcards.dataset, wildcards.split, FILE_HASHES.hash_id_lists
        ),
        source=lambda wildcards: config["datasets"][wildcards.dataset]["source"],
        code=rule_fingerprint("slq.datasets.prepare"),
        scratch=scratch_folder,
    message:
        "Preparing {wildcards.dataset}, {wildcards.split} split"
    shell:
        "slq prepare --settings {params.settings:q} --from {params.scratch}/sources/{params.source}"
        " --out {params.scratch}/data/{wildcards.dataset}/{wildcards.split}"
        " 2>&1 | tee {log} >&2"


# The folder is a parameter and not an input: a clone with results but without data must still render its tables. The
# hash of its files is a parameter too, so that an edited caption or a replaced image re-runs the job.
rule import_local_split:
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/import_local_split/{dataset}.{split}.log",
    benchmark:
        "benchmarks/data/import_local_split/{dataset}.{split}.jsonl"
    wildcard_constraints:
        dataset=wildcard_pattern(names_with_key("datasets", "local_dir")),
    priority: 10  # find an error in a dataset before hours are spent on another
    localrule: True
    conda:
        "../../envs/slq.yaml"
    resources:
        gate=split_gate_tokens,
    params:
        kind=lambda wildcards: config["datasets"][wildcards.dataset]["kind"],
        flags=lambda wildcards: job_settings.local_dataset_flags(config, wildcards.dataset),
        source=lambda wildcards: config["datasets"][wildcards.dataset]["local_dir"],
        code=rule_fingerprint("slq.datasets.local"),
        content_hash=local_dataset_hash,
        scratch=scratch_folder,
    message:
        "Importing {wildcards.dataset}, {wildcards.split} split, from {params.source}"
    shell:
        "slq adopt --set {wildcards.dataset} --split {wildcards.split} --kind {params.kind}"
        " {params.flags} --from {params.source:q}"
        " --out {params.scratch}/data/{wildcards.dataset}/{wildcards.split}"
        " 2>&1 | tee {log} >&2"


# User-written queries for the images of another dataset's test split, which stay in its folder. As above, the file is
# not an input; its hash is a parameter, so that a changed file re-runs the job.
rule import_queries:
    input:
        images=query_images_manifest,
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/import_queries/{dataset}.{split}.log",
    benchmark:
        "benchmarks/data/import_queries/{dataset}.{split}.jsonl"
    wildcard_constraints:
        dataset=wildcard_pattern(names_with_key("datasets", "queries")),
        split="test",
    priority: 10  # find an error in a dataset before hours are spent on another
    localrule: True
    conda:
        "../../envs/slq.yaml"
    resources:
        gate=split_gate_tokens,
    params:
        settings=lambda wildcards: job_settings.query_dataset_settings(config, wildcards.dataset),
        queries=lambda wildcards: config["datasets"][wildcards.dataset]["queries"],
        content_hash=queries_hash,
        code=rule_fingerprint("slq.datasets.queries"),
        scratch=scratch_folder,
    message:
        "Importing the queries of {wildcards.dataset} from {params.queries}"
    shell:
        "slq gather --settings {params.settings:q} --queries {params.queries:q} --data {params.scratch}/data"
        " --out {params.scratch}/data/{wildcards.dataset}/{wildcards.split}"
        " 2>&1 | tee {log} >&2"


# A leaf of the graph: as an `ancient` input of training it would hide re-runs of the jobs below it (docs/log.md).
rule audit:
    input:
        learning=training_manifests(),
        retrieval=[*test_split_manifests("retrieval"), *test_split_manifests("knowledge")],
        retention=test_split_manifests("retention"),
    output:
        audit="results/{preset}/audit.json",
    log:
        "logs/{preset}/audit.log",
    benchmark:
        "benchmarks/{preset}/audit.jsonl"
    priority: 20  # find a leak before hours are spent on training
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("prepare")
    resources:
        **cluster_resources("prepare", gate=CHECK_GATE_TOKENS),
    params:
        settings=job_settings.audit_settings(config),
        code=rule_fingerprint("slq.datasets.leak_audit"),
        scratch=scratch_folder,
    message:
        "Auditing the datasets of {wildcards.preset}"
    shell:
        "slq audit --settings {params.settings:q} --data {params.scratch}/data --work {params.scratch}/work"
        " --out {output.audit} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


# Data and scorer checked on public models whose recalls are published, before any long job (`GATE_TOKENS`, common.smk).
# The published values are a parameter, as the modification times of files in a clone mean nothing.
rule check_reference_recalls:
    input:
        encoders=encoder_manifests(),
        data=test_split_manifests("retrieval"),
    output:
        check="results/{preset}/reference_check.json",
    log:
        "logs/{preset}/check_reference_recalls.log",
    benchmark:
        "benchmarks/{preset}/check_reference_recalls.jsonl"
    priority: 20
    conda:
        "../../envs/slq.yaml"
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate", gate=GATE_TOKENS),
    params:
        settings=job_settings.reference_check_settings(config),
        reference_recalls=hash_file(REFERENCE_RECALLS),
        code=rule_fingerprint("slq.evaluation.reference_check"),
        scratch=scratch_folder,
    message:
        "Checking data and scorer of {wildcards.preset} by public models"
    shell:
        "slq instrument --settings {params.settings:q} --encoders {params.scratch}/encoders --data {params.scratch}/data"
        " --golden paper_tables/reference/reference_recalls.csv --out {output.check} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule reference_check:
    input:
        reference_check_files(),
