# Included with `cells: present` instead of the rules that make results. Existing results are then plain files, which no
# rule makes again, even if their inputs are newer. A request for a result that does not exist is an error.


for target in ("fetch", "reference_check", "baselines", "lr_sweep", "frontier", "pilot"):

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
