# Cost of runs: forecast and actual (docs/hours.md).
# Input: sizes in config.yaml, events of the runs. Output: results/<preset>/gpu_hours.csv.


rule count_gpu_hours:
    input:
        events=ledger_events,
    output:
        out="results/{preset}/gpu_hours.csv",
    log:
        "logs/{preset}/count_gpu_hours.log",
    wildcard_constraints:
        preset=wildcard_pattern(countable_presets()),
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call("count_gpu_hours", slice_of(cost_settings.ledger_settings), results="results"),
    message:
        "Counting the device hours of {wildcards.preset}"
    shell:
        LOCAL_JOB


# On request: `snakemake --cores 1 forecast`. It needs no GPU, weights or data. The forecast is printed in every call,
# so no output is declared. The parameter is a function, because Snakemake would format the braces in prompts.
rule forecast:
    log:
        f"logs/{config['preset']}/forecast.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call("forecast", slice_of(cost_settings.forecast_settings)),
    message:
        "Forecasting the cost of the preset"
    shell:
        "python -m slq.jobs {params.job:q} 2>&1 | tee {log}"
