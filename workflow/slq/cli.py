"""Commands for users of the workflow. Snakemake's rules call the jobs in slq/jobs.py instead."""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError, configure_terminal, run_reporting_errors
from slq.config.loading import Config, load_merged_config
from slq.jobs import configure_libraries

# Each command imports what it needs, so that `slq --help` does not load torch and transformers.
VERDICTS = ["differs", "inside noise", "not comparable", "stale", "missing", "extra"]  # choices of `compare --fail-on`
DEFAULT_CONFIG = Path("config.yaml")


def doctor(args: argparse.Namespace) -> None:
    """Check whether a run on a cluster can start, and forecast its cost."""
    from slq.preflight.checks import ERROR
    from slq.preflight.preflight import run_preflight

    options = [part for profile in args.profile or ["slurm"] for part in ("--profile", profile)]
    options += ["--default-resources", *args.default_resources] if args.default_resources else []
    page, num_errors = run_preflight(args.config, args.preset, options)
    print(page, flush=True)
    if num_errors:
        raise SlqError(f"{num_errors} to be fixed before a run can start: the lines marked [{ERROR}]")


def fetch(args: argparse.Namespace) -> None:
    """Fetch the small files of a preset's models, a few MB each, and check them before their weights are fetched.

    Raises:
        SlqError: a model's files cannot be fetched, or are not what config.yaml or the code expects.
    """
    from slq.preflight.checks import ERROR
    from slq.preflight.preflight import format_finding
    from slq.preflight.snapshot_checks import fetch_and_check

    num_faults = 0
    for finding in fetch_and_check(_load_config(args), Path("sources.lock")):
        print("\n".join(format_finding(finding)), flush=True)
        num_faults += finding.severity == ERROR
    if num_faults:
        raise SlqError(f"{num_faults} faults in the small files of models: the lines marked [{ERROR}]")


def forecast(args: argparse.Namespace) -> None:
    """Forecast the cost of a preset from the sizes of its models and datasets."""
    from slq.config.cost_settings import forecast_settings
    from slq.cost.forecast_table import print_forecast
    from slq.cost.measured_speed import apply_bench

    settings = forecast_settings(_load_config(args))
    print_forecast(apply_bench(settings, args.bench) if args.bench else settings)


def bench(args: argparse.Namespace) -> None:
    """Time a training step of a backbone, as in the released code and with each image cache, with random weights."""
    from slq.common.files import write_json
    from slq.config.cost_settings import train_step_settings
    from slq.cost.bench.train_step import bench_train_step, format_step_table
    from slq.cost.bench.variants import list_variants

    config = _load_config(args)
    if args.backbone not in config["backbones"]:
        known = ", ".join(config["backbones"])
        raise SlqError(f"--backbone {args.backbone}: not under `backbones`; expected one of {known}")
    settings = train_step_settings(config, args.backbone, args.batch, args.dtype, args.whole_step)
    timings = bench_train_step(settings, args.variants or list_variants(settings), args.repeats, args.folder)
    print(format_step_table(timings))
    if args.json:
        write_json(args.json, timings)


def sources(args: argparse.Namespace) -> None:
    """List the sources: whether they are fetched, their disk space, and the terms that you have to accept."""
    from slq.sources.listing import format_source_table

    print(format_source_table(args.config, args.preset))


def score(args: argparse.Namespace) -> None:
    """Recompute scores and recalls from stored answers and ranks, and compare them with the stored results."""
    from slq.evaluation.rescoring import rescore_folder

    rescore_folder(args.results, args.write)


def compare(args: argparse.Namespace) -> None:
    """Compare two results cell by cell, with a verdict for each cell.

    Raises:
        SlqError: a cell has a verdict listed in `--fail-on`.
    """
    from slq.config.job_settings import compare_settings
    from slq.reporting.comparison.output import format_comparison, write_comparison

    settings = compare_settings(_load_config(args))
    files = (args.reference, args.json, args.text)
    comparison = write_comparison(args.a, args.b, settings, *files, seeds=args.seeds)
    print(format_comparison(comparison), end="")
    counts = {verdict: count for verdict, count in comparison.verdict_counts.items() if verdict in args.fail_on}
    if any(counts.values()):
        raise SlqError("compare: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


def bundle(args: argparse.Namespace) -> None:
    """Pack a preset's results and configuration into one reproducible file, to share them.

    Raises:
        SlqError: the configuration has no preset with the name of the results folder.
    """
    from slq.reporting.comparison.bundles import find_preset_folder, write_bundle
    from slq.reporting.comparison.configuration import bundle_warnings

    config, folder = _load_config(args), find_preset_folder(str(args.results), args.results)
    if folder.name not in config["presets"]:
        raise SlqError(f"{folder}: the configuration has no preset {folder.name}; name its files with --config")
    warnings, count = bundle_warnings(folder, config), write_bundle(folder, args.out, args.config)
    print(f"{args.out}: {count} files")
    for line in warnings:
        print(f"slq: warning: {line}", file=sys.stderr)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate a run on your own images and captions, without changing results of the workflow."""
    from slq.evaluation.own_data import evaluate_on_folder, format_recalls
    from slq.export.trained_run import find_run

    run = find_run(args.run, _load_config(args))
    recalls = evaluate_on_folder(
        run.settings, run.snapshot, run.adapter_folder, args.images, args.captions, args.batch, args.json
    )
    print(format_recalls(recalls))


def export(args: argparse.Namespace) -> None:
    """Export a run as a folder that sentence-transformers and PEFT load."""
    from slq.export.folder import export_run
    from slq.export.trained_run import find_run

    config = _load_config(args)
    export_run(find_run(args.run, config), config, args.folder)
    print(args.folder)


def search(args: argparse.Namespace) -> None:
    """Find the images in a folder that are most similar to a text or an image.

    Raises:
        SlqError: not exactly one of `--text` and `--image` is given, or the folder is neither an export nor a run.
    """
    from slq.export.folder import export_once
    from slq.export.search import search_images
    from slq.export.trained_run import find_run

    if (args.text is None) == (args.image is None):
        raise SlqError("expected one query: --text TEXT or --image FILE")
    is_export, is_run = ((args.model / name).is_file() for name in ("retriever.json", "run.json"))
    if not (is_export or is_run):
        raise SlqError(f"{args.model}: expected an export (with retriever.json) or a run's folder (with run.json)")
    config: Config = {"scratch": "scratch"}
    if is_run or DEFAULT_CONFIG.exists() or args.config != [DEFAULT_CONFIG]:  # an export needs no clone to be searched
        config = _load_config(args)
    folder = args.model if is_export else export_once(find_run(args.model, config), config)
    query = args.image if args.text is None else args.text
    options = (args.top, args.batch, args.sheet)
    print(search_images(folder, Path(config["scratch"]), args.images, query, *options))


def _load_config(args: argparse.Namespace) -> Config:
    """Load the configuration files of `--config`, for the preset of `--preset` if the command has that option."""
    return load_merged_config(args.config, getattr(args, "preset", None))


Argument = tuple[str, dict[str, Any]]


def argument(name: str, help_text: str, **options: Any) -> Argument:
    """Describe an argument of a command: an option, or a positional argument if its name has no leading dashes."""
    return name, {"help": help_text, **options}


# Shared by every command that reads the configuration.
CONFIG = argument(
    "--config",
    "Configuration file; if repeated, later files override earlier ones. Default: config.yaml.",
    type=Path,
    action="append",
    metavar="FILE",
)
RUN = argument("run", "Folder of a run, results/<preset>/<backbone>/<method>/seed<k>.", type=Path, metavar="RUN")
RESULTS = argument("results", "Folder of results, such as results/mini.", type=Path)
BATCH = argument("--batch", "Images embedded at once. Default: 32.", type=int, default=32, metavar="N")
SOURCE_HELP = "Folder of results, a bundle, or the word `paper`."
CAPTIONS_HELP = (
    "JSON lines file; each line has an image's file name and its captions: {image: NAME, captions: [TEXT, ...]}."
)
SEEDS_HELP = (
    "Compare only runs of these seeds: one seed for A and one for B, or one for both. Base, which has no seed, is "
    "included; baselines are not. Default: all seeds."
)
BENCH_FILES_HELP = "Files of `slq bench --json` on one device; their speeds replace accounting.mfu."
WHOLE_STEP_HELP = "Time a step of the preset's training: micro-batches, GradCache and gradient checkpointing."
DTYPES = ["float32", "bfloat16", "float64"]
COMMANDS: dict[Callable[[argparse.Namespace], None], list[Argument]] = {
    doctor: [
        CONFIG,
        argument("--preset", "Preset to run.", required=True),
        argument("--profile", "Snakemake profile; may be repeated. Default: slurm.", action="append"),
        argument(
            "--default-resources",
            "Passed to snakemake; for example partition and account.",
            nargs="+",
            metavar="KEY=VALUE",
        ),
    ],
    fetch: [
        CONFIG,
        argument("--preset", "Preset whose models to check. Default: that of the configuration."),
        argument(
            "--small",
            "Fetch configurations, tokenizers and processors only; `snakemake fetch` fetches everything.",
            action="store_true",
            required=True,
        ),
    ],
    forecast: [
        CONFIG,
        argument("--preset", "Preset to forecast. Default: that of the configuration."),
        argument("--bench", BENCH_FILES_HELP, type=Path, nargs="+", metavar="FILE"),
    ],
    bench: [
        CONFIG,
        argument("--preset", "Preset whose training set and query count are used. Default: paper.", default="paper"),
        argument("--backbone", "Backbone whose shape is used; the weights are random.", required=True),
        argument("--batch", "Pairs per step. Default: 4; with --whole-step the preset's.", type=int),
        argument("--whole-step", WHOLE_STEP_HELP, action="store_true"),
        argument("--repeats", "Timed steps; their median is reported. Default: 5.", type=int, default=5),
        argument("--dtype", "Data type of the weights. Default: float32.", default="float32", choices=DTYPES),
        argument("--threads", "CPU threads. Default: all.", type=int),
        argument("--folder", "Folder for the feature cache. Default: scratch.", type=Path, default=Path("scratch")),
        argument("--variants", "Steps to time: reference, none, features, batch, kv, kv_disk, or a method.", nargs="+"),
        argument("--json", "JSON file for all measurements.", type=Path, metavar="FILE"),
    ],
    sources: [CONFIG, argument("--preset", "Preset whose sources are listed. Default: all presets.")],
    score: [RESULTS, argument("--write", "Overwrite results that differ.", action="store_true")],
    compare: [
        CONFIG,
        argument("a", SOURCE_HELP, metavar="A"),
        argument("b", SOURCE_HELP, metavar="B"),
        argument("--seeds", SEEDS_HELP, type=int, nargs="+", default=[], metavar="K"),
        argument("--json", "JSON file for the comparison.", type=Path, metavar="FILE"),
        argument("--text", "Text file for the printed comparison.", type=Path, metavar="FILE"),
        argument(
            "--fail-on",
            "Exit with status 1 if a cell has this verdict; may be repeated.",
            action="append",
            default=[],
            choices=VERDICTS,
        ),
        argument("--reference", "Folder of the paper's values.", type=Path, default=Path("paper_tables/reference")),
    ],
    bundle: [CONFIG, RESULTS, argument("out", "Bundle to write.", type=Path, metavar="OUT.tar.gz")],
    evaluate: [
        CONFIG,
        RUN,
        argument("--images", "Folder of the images.", type=Path, required=True, metavar="FOLDER"),
        argument("--captions", CAPTIONS_HELP, type=Path, required=True, metavar="FILE"),
        BATCH,
        argument("--json", "JSON file for the recalls and their confidence intervals.", type=Path, metavar="FILE"),
    ],
    export: [CONFIG, RUN, argument("folder", "Folder to write.", type=Path, metavar="DIR")],
    search: [
        CONFIG,
        argument("model", "Folder of an export, or a run to export first.", type=Path, metavar="EXPORT"),
        argument("images", "Folder to search; embeddings are kept for later searches.", type=Path, metavar="FOLDER"),
        argument("--text", "Query text."),
        argument("--image", "Query image.", type=Path, metavar="FILE"),
        argument("--top", "Number of hits to show. Default: 10.", type=int, default=10, metavar="K"),
        BATCH,
        argument(
            "--sheet", "HTML file for the hits with thumbnails. Default: next to the index.", type=Path, metavar="HTML"
        ),
    ],
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; the help of a command is the first line of its docstring."""
    parser = argparse.ArgumentParser(prog="slq", description=__doc__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for function, arguments in COMMANDS.items():
        help_text = (function.__doc__ or "").splitlines()[0]
        command = subparsers.add_parser(function.__name__, help=help_text, description=help_text)
        command.set_defaults(function=function)
        for name, options in arguments:
            command.add_argument(name, **options)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status, after printing the message of an error on standard error."""
    # torch and transformers create many permanent objects; garbage collection among them would take 1.5 s.
    gc.set_threshold(200_000)
    configure_terminal()
    args = build_parser().parse_args(argv)
    args.config = getattr(args, "config", None) or [DEFAULT_CONFIG]
    configure_libraries(getattr(args, "threads", None), allow_network=args.function in (doctor, fetch))
    return run_reporting_errors(lambda: args.function(args))


if __name__ == "__main__":
    sys.exit(main())
