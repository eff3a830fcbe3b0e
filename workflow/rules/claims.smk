# The paper's claims judged on our results, and its numbers checked by arithmetic and against its own tables.
# In: results/<preset>, the paper's values. Out: results/<preset>/claims.json, paper_tables/audit.json.


rule judge_claims:
    input:
        results=table_results,
        evidence=evidence_files,
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
        claims="paper_tables/reference/claims.yaml",
    output:
        claims=CLAIMS,
    log:
        "logs/{preset}/judge_claims.log",
    benchmark:
        "benchmarks/{preset}/judge_claims.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=job_settings.claims_settings(config),
        code=rule_fingerprint("slq.claims.judge"),
    message:
        "Judging the paper's claims on the results of {wildcards.preset}"
    shell:
        "slq claims --settings {params.settings:q} --results results --reference paper_tables/reference"
        " --out {output.claims} 2>&1 | tee {log} >&2"


rule claims:
    input:
        CLAIMS.format(preset=config["preset"]),
    localrule: True


rule paper_audit:
    input:
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
    output:
        audit="paper_tables/audit.json",
    log:
        "logs/paper_audit.log",
    benchmark:
        "benchmarks/paper_audit.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=cost_settings.paper_audit_settings(config),
        code=rule_fingerprint("slq.claims.paper_audit"),
    message:
        "Checking the paper's tables against each other"
    shell:
        "slq paper-audit --settings {params.settings:q} --reference paper_tables/reference --out {output.audit}"
        " 2>&1 | tee {log} >&2"
