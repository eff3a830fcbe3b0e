# In place of all rules that make results, with `cells: present`: results that are here are files like any other, which
# nothing makes, whatever is newer than they are. What only a run could make is refused.


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
