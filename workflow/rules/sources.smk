# Fetched and verified data and models (docs/data.md): datasets in <scratch>/sources/<source>, backbones and encoders as
# snapshots. Input: the network, or folders that the user fills.
# Output: a folder, complete when its manifest.json exists.


# A local rule, because compute nodes often have no internet access. Its parameters have no code hash, because an edit
# of the code must not start a second download.
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


# All jobs that need the network or the user's folders, to be run on a host that has access to them.
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
