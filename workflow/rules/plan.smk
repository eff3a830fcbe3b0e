# The plan of a preset, on request and before its runs: `snakemake --cores 1 plan` (docs/plan.md).
# Input: config.yaml, the paper's values and claims; no results. Output: paper_tables/<preset>/plan.md.


rule write_plan:
    input:
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
        claims="paper_tables/reference/claims.yaml",
        template="paper_tables/templates/plan.md.j2",
    output:
        out="paper_tables/{preset}/plan.md",
    log:
        "logs/{preset}/write_plan.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "write_plan",
            slice_of(plan_settings.plan_settings),
            reference="paper_tables/reference",
            templates="paper_tables/templates",
        ),
    message:
        "Writing {output.out}"
    shell:
        LOCAL_JOB


rule plan:
    input:
        f"paper_tables/{config['preset']}/plan.md",
    localrule: True
