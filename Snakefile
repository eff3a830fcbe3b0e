# The paper SLQ, reproduced: from bytes to Tables 1 and 3, and figures.
# Settings: config.yaml. Stages: workflow/rules, in this order.
from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


include: "workflow/rules/common.smk"


# What <scratch> stands for in inputs and outputs.
pathvars:
    scratch=SCRATCH,


# Only this preset's settings are known to this call, so files of another preset or seed are not its to make.
wildcard_constraints:
    preset=wildcard_pattern([config["preset"]]),
    backbone=wildcard_pattern(config["backbones"]),
    dataset=wildcard_pattern(config["datasets"]),
    split=wildcard_pattern(SPLITS),
    baseline=wildcard_pattern(BASELINES),
    seed=wildcard_pattern(map(str, [BASE_SEED, *SEEDS])),


localrules:
    all,


rule all:
    input:
        table_files(),
        existing_if_partial(baseline_files()),
        figure_files(),
        query_figure_files(),
        page_file(),
        audit_files(),
        reference_check_files(),


# With `cells: present` what makes results is no part of the graph: no result is made again, whatever is newer.
include: f"workflow/rules/{config['cells']}.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/account.smk"
include: "workflow/rules/compare.smk"


onstart:
    require_plain_python()
