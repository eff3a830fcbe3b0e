"""`slq`: what people type. The jobs of the workflow are in slq/jobs.py, and are called by rules."""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError, configure_terminal, run_reporting_errors
from slq.config.loading import Config, load_merged_config
from slq.jobs import configure_libraries

# Commands import torch and transformers themselves, so that `slq --help` starts at once.
VERDICTS = ["differs", "inside noise", "not comparable", "stale", "missing", "extra"]  # that `compare` may fail on
DEFAULT_CONFIG = Path("config.yaml")


def doctor(args: argparse.Namespace) -> None:
    """Check whether a run on a cluster can start, and say what it would cost.

    Raises:
        SlqError: something has to be fixed before the run can start.
    """
    from slq.preflight.checks import ERROR
    from slq.preflight.preflight import run_preflight

    options = [part for profile in args.profile or ["slurm"] for part in ("--profile", profile)]
    options += ["--default-resources", *args.default_resources] if args.default_resources else []
    page, num_errors = run_preflight(args.config, args.preset, options)
    print(page, flush=True)
    if num_errors:
        raise SlqError(f"{num_errors} to be done before a run can start: the lines marked [{ERROR}]")


def forecast(args: argparse.Namespace) -> None:
    """Print what a preset will cost, from sizes alone."""
    from slq.config.cost_settings import forecast_settings
    from slq.cost.forecast_table import print_forecast

    print_forecast(forecast_settings(_load_config(args)))


def bench(args: argparse.Namespace) -> None:
    """Time a training step as released, and with each image cache, on a backbone's real shape.

    Raises:
        SlqError: the configuration has no such backbone.
    """
    from slq.common.files import write_json
    from slq.config.cost_settings import train_step_settings
    from slq.cost.bench.train_step import bench_train_step, format_step_table
    from slq.cost.bench.variants import list_variants

    config = _load_config(args)
    if args.backbone not in config["backbones"]:
        raise SlqError(f"--backbone {args.backbone}: not under `backbones`; there are {', '.join(config['backbones'])}")
    settings = train_step_settings(config, args.backbone, args.batch, args.dtype)
    timings = bench_train_step(settings, args.variants or list_variants(settings), args.repeats, args.folder)
    print(format_step_table(timings))
    if args.json:
        write_json(args.json, timings)


def sources(args: argparse.Namespace) -> None:
    """Print the table of sources: which are here, what they cost, which terms a person has to accept."""
    from slq.sources.listing import format_source_table

    print(format_source_table(args.config, args.preset))


def score(args: argparse.Namespace) -> None:
    """Score stored answers and count stored ranks again, and compare with what is stored."""
    from slq.evaluation.rescoring import rescore_folder

    rescore_folder(args.results, args.write)


def compare(args: argparse.Namespace) -> None:
    """Compare two results cell by cell, with a verdict each.

    Raises:
        SlqError: a cell has a verdict of `--fail-on`.
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
    """Pack a preset's results and its configuration for a colleague: the same bytes for the same files.

    Raises:
        SlqError: the configuration has no preset of the results' name.
    """
    from slq.reporting.comparison.bundles import find_preset_folder, write_bundle
    from slq.reporting.comparison.configuration import bundle_warnings

    config, folder = _load_config(args), find_preset_folder(str(args.results), args.results)
    if folder.name not in config["presets"]:
        raise SlqError(f"{folder}: the configuration has no preset {folder.name}: name its files with --config")
    warnings, count = bundle_warnings(folder, config), write_bundle(folder, args.out, args.config)
    print(f"{args.out}: {count} files")
    for line in warnings:
        print(f"slq: warning: {line}", file=sys.stderr)


def evaluate(args: argparse.Namespace) -> None:
    """Evaluate a run on your own images and captions; no result of the workflow is touched."""
    from slq.evaluation.own_data import evaluate_on_folder, format_recalls
    from slq.export.trained_run import find_run

    run = find_run(args.run, _load_config(args))
    recalls = evaluate_on_folder(
        run.settings, run.snapshot, run.adapter_folder, args.images, args.captions, args.batch, args.json
    )
    print(format_recalls(recalls))


def export(args: argparse.Namespace) -> None:
    """Write a run as a folder that sentence-transformers and PEFT load."""
    from slq.export.folder import export_run
    from slq.export.trained_run import find_run

    config = _load_config(args)
    export_run(find_run(args.run, config), config, args.folder)
    print(args.folder)


def search(args: argparse.Namespace) -> None:
    """Find the images of a folder that a text or an image is most similar to.

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
        raise SlqError(f"{args.model}: neither an export, with retriever.json in it, nor a run's folder, with run.json")
    config: Config = {"scratch": "scratch"}
    if is_run or DEFAULT_CONFIG.exists() or args.config != [DEFAULT_CONFIG]:  # an export is searched without a clone
        config = _load_config(args)
    folder = args.model if is_export else export_once(find_run(args.model, config), config)
    query = args.image if args.text is None else args.text
    options = (args.top, args.batch, args.sheet)
    print(search_images(folder, Path(config["scratch"]), args.images, query, *options))


def _load_config(args: argparse.Namespace) -> Config:
    """Load the configuration that a command was given, for the preset that it was given.

    Raises:
        SlqError: the configuration is not valid, or has no such preset.
    """
    return load_merged_config(args.config, getattr(args, "preset", None))


Argument = tuple[str, dict[str, Any]]


def argument(name: str, help_text: str, **options: Any) -> Argument:
    """Describe an argument of a command: a flag, or a position if the name begins without dashes."""
    return name, {"help": help_text, **options}


# The same for every command that reads the configuration.
CONFIG = argument(
    "--config",
    "Configuration, then each file laid over it; may be repeated. Default: config.yaml.",
    type=Path,
    action="append",
    metavar="FILE",
)
RUN = argument("run", "Folder of a run, results/<preset>/<backbone>/<method>/seed<k>.", type=Path, metavar="RUN")
RESULTS = argument("results", "Folder of results, such as results/mini.", type=Path)
BATCH = argument("--batch", "Images embedded at once. Default: 32.", type=int, default=32, metavar="N")
SOURCE_HELP = "Folder of results, bundle, or the word paper."
CAPTIONS_HELP = "JSON lines, each an image's file name and its captions: {image: NAME, captions: [TEXT, ...]}."
SEEDS_HELP = "Seed of A and seed of B, or one for both: their runs and base's alone, no baselines. Default: all seeds."
DTYPES = ["float32", "bfloat16", "float64"]
COMMANDS: dict[Callable[[argparse.Namespace], None], list[Argument]] = {
    doctor: [
        CONFIG,
        argument("--preset", "Preset that is to run.", required=True),
        argument("--profile", "Profile of snakemake; may be repeated. Default: slurm.", action="append"),
        argument("--default-resources", "Option of snakemake: partition, account.", nargs="+", metavar="KEY=VALUE"),
    ],
    forecast: [CONFIG, argument("--preset", "Preset to forecast. Default: that of the configuration.")],
    bench: [
        CONFIG,
        argument("--preset", "Preset whose training set and queries it takes. Default: paper.", default="paper"),
        argument("--backbone", "Backbone whose sizes it takes; the weights are random.", required=True),
        argument("--batch", "Images at once. Default: 4.", type=int, default=4),
        argument("--repeats", "Steps of which the median is taken. Default: 5.", type=int, default=5),
        argument("--dtype", "Type of the weights. Default: float32.", default="float32", choices=DTYPES),
        argument("--threads", "CPU threads. Default: all.", type=int),
        argument("--folder", "Folder for the feature cache. Default: scratch.", type=Path, default=Path("scratch")),
        argument("--variants", "Steps to time: reference, none, features, batch, kv, kv_disk, or a method.", nargs="+"),
        argument("--json", "File for everything that was measured.", type=Path, metavar="FILE"),
    ],
    sources: [CONFIG, argument("--preset", "Preset whose sources to list. Default: all.")],
    score: [RESULTS, argument("--write", "Write again what differs.", action="store_true")],
    compare: [
        CONFIG,
        argument("a", SOURCE_HELP, metavar="A"),
        argument("b", SOURCE_HELP, metavar="B"),
        argument("--seeds", SEEDS_HELP, type=int, nargs="+", default=[], metavar="K"),
        argument("--json", "File for the comparison as JSON.", type=Path, metavar="FILE"),
        argument("--text", "File for what is printed.", type=Path, metavar="FILE"),
        argument("--fail-on", "Verdict that makes the exit status 1.", action="append", default=[], choices=VERDICTS),
        argument("--reference", "Folder of the paper's values.", type=Path, default=Path("paper_tables/reference")),
    ],
    bundle: [CONFIG, RESULTS, argument("out", "File for the bundle.", type=Path, metavar="OUT.tar.gz")],
    evaluate: [
        CONFIG,
        RUN,
        argument("--images", "Folder of the images.", type=Path, required=True, metavar="FOLDER"),
        argument("--captions", CAPTIONS_HELP, type=Path, required=True, metavar="FILE"),
        BATCH,
        argument("--json", "File for the recalls and their intervals.", type=Path, metavar="FILE"),
    ],
    export: [CONFIG, RUN, argument("folder", "Folder to write.", type=Path, metavar="DIR")],
    search: [
        CONFIG,
        argument("model", "Folder of an export, or a run to export first.", type=Path, metavar="EXPORT"),
        argument("images", "Folder to search; an image is embedded once.", type=Path, metavar="FOLDER"),
        argument("--text", "Text to search with."),
        argument("--image", "Image to search with.", type=Path, metavar="FILE"),
        argument("--top", "Images to show. Default: 10.", type=int, default=10, metavar="K"),
        BATCH,
        argument("--sheet", "File for the contact sheet.", type=Path, metavar="HTML"),
    ],
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands; the first line of a command's docstring is its help."""
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
    """Run one command; return 0, or the exit status of the error after printing its message on standard error."""
    gc.set_threshold(200_000)  # collecting the many permanent objects of torch and transformers takes 1.5 s
    configure_terminal()
    args = build_parser().parse_args(argv)
    args.config = getattr(args, "config", None) or [DEFAULT_CONFIG]
    configure_libraries(getattr(args, "threads", None), allow_network=args.function is doctor)
    return run_reporting_errors(lambda: args.function(args))


if __name__ == "__main__":
    sys.exit(main())
