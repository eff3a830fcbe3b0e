# With `cells: present`, this file replaces all rules that make results: existing results are plain files, which no rule
# makes again even if newer files exist. A result that only a run could make is an error.


for target in ("fetch", "reference_check", "baselines", "lr_sweep", "pilot"):

    rule:
        name:
            target
        input:
            refuse_to_run,
        localrule: True


rule refuse:
    input:
        refuse_to_run,
    output:
        "{missing}",
    wildcard_constraints:
        missing=wildcard_pattern(missing_results()),
    localrule: True
