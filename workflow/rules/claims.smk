# Verdicts on the paper's claims from our results, and consistency checks of the paper's own numbers.
# Input: results/<preset>, the paper's values. Output: results/<preset>/claims.json, paper_tables/audit.json.


rule judge_claims:
    input:
        results=table_results,
        evidence=evidence_files,
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
        claims="paper_tables/reference/claims.yaml",
    output:
        out=CLAIMS,
    log:
        "logs/{preset}/judge_claims.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call("judge_claims", slice_of(job_settings.claims_settings), **REPORT_PATHS),
    message:
        "Judging the paper's claims on the results of {wildcards.preset}"
    shell:
        LOCAL_JOB


rule claims:
    input:
        CLAIMS.format(preset=config["preset"]),
    localrule: True


rule paper_audit:
    input:
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
    output:
        out="paper_tables/audit.json",
    log:
        "logs/paper_audit.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call("paper_audit", slice_of(cost_settings.paper_audit_settings), reference="paper_tables/reference"),
    message:
        "Checking the paper's tables against each other"
    shell:
        LOCAL_JOB
