# Datasets in the prepared form (docs/own-data.md), and the leak audit. A dataset is synthetic, prepared from a fetched
# source, imported from a user's folder (`local_dir`), or made of a user's queries about another dataset (`queries`).
# Output: <scratch>/data/<dataset>/<split>, results/<preset>/audit.json.


rule make_synthetic_split:
    output:
        manifest="<scratch>/data/{dataset}/{split}/manifest.json",
    log:
        "logs/data/make_synthetic_split/{dataset}.{split}.log",
    benchmark:
        "benchmarks/data/make_synthetic_split/{dataset}.{split}.jsonl"
    wildcard_constraints:
        dataset=wildcard_pattern(names_with_key("datasets", "synthetic")),
    priority: 10  # the reference check may wait for this dataset
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


# Datasets from a fetched source: images stay in the source's folder, questions are unpacked.
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


# The folder is a parameter and not an input, because a clone with results but without data must still render its
# tables. The hash of its files is also a parameter, so that an edited caption or a replaced image re-runs the job.
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


# A user's queries about images of another dataset's test split; the images stay in that dataset's folder. As above, the
# file is not an input, and its hash is a parameter, so that a changed file re-runs the job.
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


# No rule has the audit as input: as an `ancient` input of training it would hide re-runs of the jobs that make the
# datasets (docs/log.md).
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


# Check of data and scorer before any long job (`GATE_TOKENS` in common.smk): public models must reproduce their
# published recalls. The hash of these recalls is a parameter, because modification times in a clone are arbitrary.
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
        "Checking data and scorer of {wildcards.preset} with public models"
    shell:
        CLUSTER_JOB


rule reference_check:
    input:
        reference_check_files(),
