# The frontier, on request: recall against retention of runs at all searched rates and of runs interpolated with base.
# Input: runs, their searches, backbones and the val split. Output: results/<preset>/frontier.json, its table and figure.


# Trains nothing: the adapter of a run whose update is scaled.
use rule register_base as interpolate with:
    input:
        trained="<scratch>/runs/{preset}/{backbone}/{method}/seed{seed}/adapter.json",
        backbone="<scratch>/backbones/{backbone}/manifest.json",
        data=training_manifests(),
    output:
        adapter="<scratch>/runs/{preset}/{backbone}/{method}/mix{fraction}/seed{seed}/adapter.json",
        run_file="results/{preset}/{backbone}/{method}/mix{fraction}/seed{seed}/run.json",
    log:
        "logs/{preset}/interpolate/{backbone}.{method}.mix{fraction}.seed{seed}.log",
    benchmark:
        "benchmarks/{preset}/interpolate/{backbone}.{method}.mix{fraction}.seed{seed}.jsonl"
    wildcard_constraints:
        method=wildcard_pattern(PRESET["frontier"]["interpolated"]),
        fraction=r"[.\d]+",
    threads: stage_cpus("evaluate")
    resources:
        **cluster_resources("evaluate"),
    params:
        job=job_call(
            "interpolate",
            interpolation_settings,
            lambda wildcards: training_values(wildcards) | {"fraction": float(wildcards.fraction)},
            trained_folder=ADAPTER_FOLDER,
            adapter_folder="<scratch>/runs/{preset}/{backbone}/{method}/mix{fraction}/seed{seed}",
            **BACKBONE_PATHS,
        ),
    message:
        "Interpolating {wildcards.method} on {wildcards.backbone} with base, {wildcards.fraction} of its update"


rule draw_frontier:
    input:
        results=frontier_inputs,
        searches=search_files([name for name in PRESET["frontier"]["methods"] if name in TRAINED_METHODS]),
        templates=sorted(Path("paper_tables/templates").glob("*.j2")),
    output:
        out_file="results/{preset}/frontier.json",
        tables=expand("paper_tables/{{preset}}/frontier.{kind}", kind=["tex", "html"]),
        figures=multiext("paper_tables/{preset}/figures/frontier", ".svg", ".png", ".csv"),
    log:
        "logs/{preset}/draw_frontier.log",
    localrule: True
    conda:
        "../../envs/slq.yaml"
    params:
        job=job_call(
            "draw_frontier",
            slice_of(job_settings.frontier_settings),
            results="results",
            templates="paper_tables/templates",
            tables="paper_tables/{preset}",
        ),
    message:
        "Drawing the frontier of {wildcards.preset}"
    shell:
        LOCAL_JOB


rule frontier:
    input:
        f"results/{config['preset']}/frontier.json",
    localrule: True
