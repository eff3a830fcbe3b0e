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


# Base first: its scores against published ones. Scores of stand-ins are not tested, and nothing waits for the check.
use rule judge_claims as check_base_scores with:
    input:
        results=base_retention_results,
        reference=sorted(Path("paper_tables/reference").glob("*.csv")),
    output:
        out=BASE_CHECK,
    log:
        "logs/{preset}/check_base_scores.log",
    localrule: True
    params:
        job=job_call(
            "check_base_scores",
            values=lambda wildcards: {"layout": job_settings.layout(config)},
            **REPORT_PATHS,
        ),
    message:
        "Comparing base's scores of {wildcards.preset} with published ones"


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
