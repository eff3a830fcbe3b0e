# Fetched and verified data and models (docs/data.md): datasets as <scratch>/sources/<source>, backbones and encoders as
# snapshots. In: the network, or folders that a user fills. Out: a folder, complete when its manifest.json exists.


# Local, because compute nodes often lack internet; without a code hash, because no edit is worth a second download.
rule fetch_source:
    output:
        manifest="<scratch>/{catalogue}/{source}/manifest.json",
    log:
        "logs/{catalogue}/fetch_source/{source}.log",
    wildcard_constraints:
        catalogue="backbones|encoders|sources",
        source=wildcard_pattern(fetched_folders()),
    priority: 10  # find a missing source before hours are spent on another
    localrule: True
    conda:
        "../../envs/slq.yaml"
    resources:
        gate=source_gate_tokens,
    params:
        job=job_call("fetch_source", fetch_settings, out="<scratch>/{catalogue}/{source}", locks="sources.lock"),
    message:
        "Fetching {wildcards.source}"
    shell:
        LOCAL_JOB


# Everything that needs the network or a user's folders, on the host that has them.
rule fetch:
    input:
        training_manifests(),
        test_split_manifests("retrieval"),
        test_split_manifests("knowledge"),
        test_split_manifests("retention"),
        backbone_manifests(),
        encoder_manifests(),
        baseline_manifests(),
    localrule: True
