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
        job=job_call(
            "make_synthetic_split",
            slice_of(job_settings.synthetic_split_settings, "dataset", "split"),
            out=SPLIT_FOLDER,
        ),
    message:
        "Drawing {wildcards.dataset}, {wildcards.split} split"
    shell:
        CLUSTER_JOB


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
        job=job_call(
            "prepare_split",
            prepare_settings,
            source=lambda wildcards: str(Path(source_manifest(wildcards)).parent),
            out=SPLIT_FOLDER,
        ),
    message:
        "Preparing {wildcards.dataset}, {wildcards.split} split"
    shell:
        CLUSTER_JOB


# The folder is a parameter and not an input: a clone with results but without data must still render its tables. The
# hash of its files is a parameter too, so that an edited caption or a replaced image re-runs the job.
rule import_local_split:
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/import_local_split/{dataset}.{split}.log",
    wildcard_constraints:
        dataset=wildcard_pattern(names_with_key("datasets", "local_dir")),
    priority: 10  # find an error in a dataset before hours are spent on another
    localrule: True
    conda:
        "../../envs/slq.yaml"
    resources:
        gate=split_gate_tokens,
    params:
        job=job_call(
            "import_local_split",
            values=slice_of(job_settings.local_split_arguments, "dataset", "split"),
            content=local_dataset_hash,
            source=lambda wildcards: config["datasets"][wildcards.dataset]["local_dir"],
            out=SPLIT_FOLDER,
        ),
    message:
        "Importing {wildcards.dataset}, {wildcards.split} split, from its folder"
    shell:
        LOCAL_JOB


# User-written queries for the images of another dataset's test split, which stay in its folder. As above, the file is
# not an input; its hash is a parameter, so that a changed file re-runs the job.
rule import_queries:
    input:
        images=query_images_manifest,
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/import_queries/{dataset}.{split}.log",
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
        job=job_call(
            "import_queries",
            slice_of(job_settings.query_dataset_settings, "dataset"),
            content=queries_hash,
            queries=lambda wildcards: config["datasets"][wildcards.dataset]["queries"],
            out=SPLIT_FOLDER,
            data=DATA,
        ),
    message:
        "Importing the queries of {wildcards.dataset}"
    shell:
        LOCAL_JOB


# A leaf of the graph: as an `ancient` input of training it would hide re-runs of the jobs below it (docs/log.md).
rule audit:
    input:
        learning=training_manifests(),
        retrieval=[*test_split_manifests("retrieval"), *test_split_manifests("knowledge")],
        retention=test_split_manifests("retention"),
    output:
        out="results/{preset}/audit.json",
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
        job=job_call("audit", slice_of(job_settings.audit_settings), data=DATA, work=WORK),
    message:
        "Auditing the datasets of {wildcards.preset}"
    shell:
        CLUSTER_JOB


# Data and scorer checked on public models whose recalls are published, before any long job (`GATE_TOKENS`, common.smk).
# The published values are a parameter, as the modification times of files in a clone mean nothing.
rule check_reference_recalls:
    input:
        encoders=encoder_manifests(),
        data=test_split_manifests("retrieval"),
    output:
        out="results/{preset}/reference_check.json",
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
        job=job_call(
            "check_reference_recalls",
            slice_of(job_settings.reference_check_settings),
            content=lambda wildcards: hash_file(REFERENCE_RECALLS),
            encoders_folder="<scratch>/encoders",
            data=DATA,
            reference_file=str(REFERENCE_RECALLS),
        ),
    message:
        "Checking data and scorer of {wildcards.preset} by public models"
    shell:
        CLUSTER_JOB


rule reference_check:
    input:
        reference_check_files(),
