# Reproduction of the SLQ paper: from the datasets to Tables 1 and 3, figures and the page of results.
# Settings are in config.yaml, rules in workflow/rules.
from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


include: "workflow/rules/common.smk"


# The value of <scratch> in inputs and outputs.
pathvars:
    scratch=SCRATCH,


# A call has the settings of one preset and its seeds, so it must not make files of another preset or seed.
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


# complete.smk or present.smk. The latter has no rules that make results, so that none is made again.
include: f"workflow/rules/{config['cells']}.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/account.smk"
include: "workflow/rules/plan.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/evidence.smk"


onstart:
    require_plain_python()
