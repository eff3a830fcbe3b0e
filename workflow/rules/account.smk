# The forecast cost of runs, and their actual cost (docs/hours.md).
# In: sizes in config.yaml, events of the runs. Out: results/<preset>/gpu_hours.csv.


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
        "Counting what the runs of {wildcards.preset} spent"
    shell:
        LOCAL_JOB


# On request, `snakemake --cores 1 forecast`: printed each time, so no output is declared. No GPU, no weights,
# no data. Settings are a function, as prompts hold braces.
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
