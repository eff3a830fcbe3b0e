# What is not made here, fetched and proved (docs/data.md): sets as <scratch>/sources/<source>, backbones and encoders as
# snapshots. In: the network, or folders that a person fills. Out: a folder, complete when its manifest.json is there.


# Local, because compute nodes often lack internet; without a code hash, because no edit is worth a second download.
rule fetch_source:
    output:
        manifest="<scratch>/{catalogue}/{source}/manifest.json",
    log:
        "logs/{catalogue}/fetch_source/{source}.log",
    benchmark:
        "benchmarks/{catalogue}/fetch_source/{source}.jsonl"
    wildcard_constraints:
        catalogue="backbones|encoders|sources",
        source=one_of(fetchable()),
    priority: 10  # what is missing is found before hours are spent on another
    localrule: True
    conda:
        "../../envs/slq.yaml"
    resources:
        gate=gate_of_source,
    params:
        settings=lambda wildcards: slices.fetch_settings(config, wildcards.catalogue, wildcards.source, CONTENTS.part),
        scratch=scratch_folder,
    message:
        "Fetching {wildcards.source}"
    shell:
        "slq fetch --settings {params.settings:q} --out {params.scratch}/{wildcards.catalogue}/{wildcards.source}"
        " --locks sources.lock"
        " 2>&1 | tee {log} >&2"


# All that needs the network or a person's folders, on the host that has them.
rule fetch:
    input:
        learning_manifests(),
        test_manifests("retrieval"),
        test_manifests("knowledge"),
        test_manifests("retention"),
        backbone_manifests(),
        encoder_manifests(),
        comparator_manifests(),
    localrule: True
