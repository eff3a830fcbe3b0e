# A few timed steps of a run, which its forecast is calibrated by (docs/hours.md).
# In: a backbone, the train and val splits. Out: results/<preset>/<backbone>/<method>/seed<k>/bench.json.


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
        code=code_of("slq.training.bench"),
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
