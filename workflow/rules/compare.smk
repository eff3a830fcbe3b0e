# Our results against the paper's, cell by cell, from results/ alone. Not part of `all`: `snakemake --cores 1 compare`.
# In: results/<preset>, the paper's values. Out: results/<preset>/compare.


rule compare_paper:
    input:
        results=table_results,
        baselines=baseline_results,
        evidence=evidence_files,
        reference=expand("paper_tables/reference/{table}.csv", table=["benchmarks", "table1", "table3"]),
    output:
        comparison="results/{preset}/compare/paper.json",
        text="results/{preset}/compare/paper.txt",
    log:
        "logs/{preset}/compare_paper.log",
    benchmark:
        "benchmarks/{preset}/compare_paper.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=job_settings.compare_settings(config),
        code=rule_fingerprint("slq.reporting.comparison.compare", "slq.reporting.comparison.output"),
    message:
        "Comparing the results of {wildcards.preset} with the paper's"
    shell:
        "slq compare results/{wildcards.preset} paper --settings {params.settings:q}"
        " --reference paper_tables/reference --json {output.comparison} --text {output.text}"
        " > {log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


# The comparison is printed each time, so no output is declared.
rule compare:
    input:
        text=f"results/{config['preset']}/compare/paper.txt",
    log:
        f"logs/{config['preset']}/compare.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    message:
        "Ours against the paper:"
    shell:
        "cat {input.text} 2>&1 | tee {log}"
