# In place of all rules that make results, with `cells: present`: results that are here are files like any other, which
# nothing makes, whatever is newer than they are. What only a run could make is refused.


for target in ("fetch", "instrument", "rows", "select", "pilot"):

    rule:
        name:
            target
        input:
            refused,
        localrule: True


rule refuse:
    input:
        refused,
    output:
        "{missing}",
    wildcard_constraints:
        missing=one_of(missing_results()),
    localrule: True
