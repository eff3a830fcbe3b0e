# Comparison of our results with the paper's, cell by cell, on request: `snakemake --cores 1 compare`.
# Input: results/<preset>, the paper's values. Output: results/<preset>/compare.


rule compare_paper:
    input:
        results=table_results,
        baselines=baseline_results,
        evidence=evidence_files,
        reference=expand("paper_tables/reference/{table}.csv", table=["benchmarks", "table1", "table3"]),
    output:
        json_file="results/{preset}/compare/paper.json",
        text_file="results/{preset}/compare/paper.txt",
    log:
        "logs/{preset}/compare_paper.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "compare_paper",
            slice_of(job_settings.compare_settings),
            compared_values,
            reference="paper_tables/reference",
        ),
    message:
        "Comparing the results of {wildcards.preset} with the paper's"
    shell:
        LOCAL_JOB


# The comparison is printed in every call, so no output is declared.
rule compare:
    input:
        text=f"results/{config['preset']}/compare/paper.txt",
    log:
        f"logs/{config['preset']}/compare.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    message:
        "Our results compared with the paper's:"
    shell:
        "cat {input.text} 2>&1 | tee {log}"
