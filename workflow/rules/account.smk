# What runs will cost, and what they did cost (docs/hours.md).
# In: sizes in config.yaml, bench files, events of the runs. Out: results/<preset>/gpu_hours.csv, forecast.csv,
# forecast_rows.csv, bench.json.


rule account:
    input:
        events=spending_events,
    output:
        ledger="results/{preset}/gpu_hours.csv",
    log:
        "logs/{preset}/account.log",
    benchmark:
        "benchmarks/{preset}/account.jsonl"
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=cost_settings.account_settings(config),
        code=code_of("account"),
    message:
        "Counting what the runs of {wildcards.preset} spent"
    shell:
        "slq account --settings {params.settings:q} --results results --out {output.ledger} 2>&1 | tee {log} >&2"


# On request, `snakemake --cores 1 forecast`: printed each time, so no output is declared. No GPU, no weights, no data. Settings are a
# function, as prompts hold braces.
rule forecast:
    log:
        f"logs/{config['preset']}/forecast.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        settings=lambda wildcards: cost_settings.forecast_settings(config),
        out=f"results/{config['preset']}/forecast.csv",
        rows=f"results/{config['preset']}/forecast_rows.csv",
    message:
        "Forecasting the cost of the preset"
    shell:
        "slq forecast --settings {params.settings:q} --results results --out {params.out} --rows {params.rows}"
        " 2>&1 | tee {log}"


# On request, `snakemake --cores 1 bench`: before a run, as a bench made beside or after it forecasts nothing.
rule bench_run:
    input:
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=learning_manifests(),
    output:
        bench="results/{preset}/{backbone}/{method}/seed{seed}/bench.json",
    log:
        "logs/{preset}/bench_run/{backbone}.{method}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/bench_run/{backbone}.{method}.seed{seed}.jsonl"
    wildcard_constraints:
        method=one_of(TUNED),
        seed=one_of(map(str, SEEDS)),
    conda:
        "../../envs/slq.yaml"
    threads: cpus("train")
    resources:
        **request("train"),
    params:
        settings=lambda wildcards: settings.train_settings(config, wildcards.backbone, wildcards.method),
        train_set=PRESET["train_set"],
        steps=config["accounting"]["bench_steps"],
        code=code_of("bench_run"),
        scratch=scratch_folder,
    message:
        "Timing steps of {wildcards.method} on {wildcards.backbone}, seed {wildcards.seed}"
    shell:
        "slq bench run --settings {params.settings:q} --seed {wildcards.seed} --steps {params.steps}"
        " --backbone {params.scratch}/backbones/{wildcards.backbone} --data {params.scratch}/data --train-set {params.train_set}"
        " --out {output.bench} --threads {resources.cpus_per_task}"
        " 2>&1 | tee {log} >&2"


rule bench:
    input:
        expand(
            f"{RUN}/bench.json",
            preset=config["preset"],
            backbone=PRESET["backbones"],
            method=TUNED,
            seed=SEEDS[0],
        ),
    localrule: True
