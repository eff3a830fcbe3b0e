"""`slq`: what people type. The jobs of the workflow are in slq/jobs.py, and are called by rules."""

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from slq.common.errors import SlqError
from slq.config.loading import Config, load_merged_config
from slq.jobs import configure_libraries
from slq.methods.registry import find_method, list_methods

# Commands import torch and transformers themselves, so that `slq --help` starts at once.
VERDICTS = ["differs", "inside noise", "not comparable", "stale", "missing", "extra"]  # that `compare` may fail on
QUERY_VARIANTS = ("reference", "none", "features", "batch", "kv", "kv_disk")
STEP_VARIANTS = (*QUERY_VARIANTS, *(name for name in list_methods() if find_method(name).changes_backbone))


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

    config = _load_config(args)
    if args.backbone not in config["backbones"]:
        raise SlqError(f"--backbone {args.backbone}: not under `backbones`; there are {', '.join(config['backbones'])}")
    settings = train_step_settings(config, args.backbone, args.batch, args.dtype)
    variants = args.variants or [one for one in STEP_VARIANTS if one in (*QUERY_VARIANTS, *settings["hyperparameters"])]
    timings = bench_train_step(settings, variants, args.repeats, args.folder)
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
    comparison = write_comparison(args.a, args.b, settings, args.reference, args.json, args.text)
    print(format_comparison(comparison), end="")
    counts = {verdict: count for verdict, count in comparison.verdict_counts.items() if verdict in args.fail_on}
    if any(counts.values()):
        raise SlqError("compare: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))


def bundle(args: argparse.Namespace) -> None:
    """Pack a preset's results for a colleague: the same bytes for the same files."""
    from slq.reporting.comparison.bundles import find_preset_folder, find_stale_files, write_bundle

    folder = find_preset_folder(str(args.results), args.results)
    freshness = find_stale_files(folder)
    count = write_bundle(folder, args.out, args.config)
    print(f"{args.out}: {count} files")
    freshness.print_warnings()


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
        SlqError: not exactly one of `--text` and `--image` is given.
    """
    from slq.export.folder import export_once
    from slq.export.search import search_images
    from slq.export.trained_run import find_run

    if (args.text is None) == (args.image is None):
        raise SlqError("expected one query: --text TEXT or --image FILE")
    config = _load_config(args)
    is_export = (args.model / "retriever.json").is_file()
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


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(prog="slq", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add_command(function: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        """Add the command of a function; the first line of its docstring is the help."""
        help_text = (function.__doc__ or "").splitlines()[0]
        command = commands.add_parser(function.__name__, help=help_text, description=help_text)
        command.set_defaults(function=function)
        return command

    def add_config(command: argparse.ArgumentParser) -> None:
        """Add the option that names the configuration, the same for every command that reads one."""
        help_text = "Configuration, and files laid over it in this order."
        command.add_argument(
            "--config", type=Path, nargs="+", default=[Path("config.yaml")], metavar="FILE", help=help_text
        )

    command = add_command(doctor)
    add_config(command)
    command.add_argument("--preset", required=True, help="Preset that is to run.")
    command.add_argument("--profile", action="append", help="Profile of snakemake; may be repeated. Default: slurm.")
    command.add_argument(
        "--default-resources",
        nargs="+",
        metavar="KEY=VALUE",
        help="Option of snakemake, for a partition or an account.",
    )

    command = add_command(forecast)
    add_config(command)
    command.add_argument("--preset", help="Preset to forecast. Default: that of the configuration.")

    command = add_command(bench)
    add_config(command)
    command.add_argument("--preset", default="paper", help="Preset whose training set and queries it takes.")
    command.add_argument("--backbone", required=True, help="Backbone whose sizes it takes; the weights are random.")
    command.add_argument("--batch", type=int, default=4, help="Images at once. Default: 4.")
    command.add_argument("--repeats", type=int, default=5, help="Steps of which the median is taken. Default: 5.")
    dtypes = ["float32", "bfloat16", "float64"]
    command.add_argument("--dtype", default="float32", choices=dtypes, help="Type of the weights. Default: float32.")
    command.add_argument("--threads", type=int, help="CPU threads. Default: all.")
    command.add_argument("--folder", type=Path, default=Path("scratch"), help="Folder for the feature cache.")
    command.add_argument(
        "--variants", nargs="+", choices=STEP_VARIANTS, help="Steps to time. Default: all that the preset has."
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="File for everything that was measured.")

    command = add_command(sources)
    add_config(command)
    command.add_argument("--preset", help="Preset whose sources to list. Default: all.")

    command = add_command(score)
    command.add_argument("results", type=Path, help="Folder of results, such as results/mini.")
    command.add_argument("--write", action="store_true", help="Write again what differs.")

    command = add_command(compare)
    add_config(command)
    for side in ("a", "b"):
        command.add_argument(side, metavar=side.upper(), help="Folder of results, bundle, or the word paper.")
    command.add_argument("--json", type=Path, metavar="FILE", help="File for the comparison as JSON.")
    command.add_argument("--text", type=Path, metavar="FILE", help="File for what is printed.")
    command.add_argument(
        "--fail-on",
        action="append",
        default=[],
        choices=VERDICTS,
        help="Verdict of a cell that makes the exit status 1; may be repeated.",
    )
    reference = Path("paper_tables/reference")
    command.add_argument("--reference", type=Path, default=reference, help="Folder of the paper's values.")

    command = add_command(bundle)
    add_config(command)
    command.add_argument("results", type=Path, help="Folder of results, such as results/mini.")
    command.add_argument("out", type=Path, metavar="OUT.tar.gz", help="File for the bundle.")

    run_help = "Folder of a run, results/<preset>/<backbone>/<method>/seed<k>."
    command = add_command(evaluate)
    add_config(command)
    command.add_argument("run", type=Path, metavar="RUN", help=run_help)
    command.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="Folder of the images.")
    command.add_argument(
        "--captions",
        type=Path,
        required=True,
        metavar="FILE",
        help="JSON lines, each with an image's file name and its captions: {image: NAME, captions: [TEXT, ...]}.",
    )
    command.add_argument("--batch", type=int, default=32, metavar="N", help="Images embedded at once. Default: 32.")
    command.add_argument("--json", type=Path, metavar="FILE", help="File for the recalls and their intervals.")

    command = add_command(export)
    add_config(command)
    command.add_argument("run", type=Path, metavar="RUN", help=run_help)
    command.add_argument("folder", type=Path, metavar="DIR", help="Folder to write.")

    command = add_command(search)
    add_config(command)
    command.add_argument("model", type=Path, metavar="EXPORT", help="Folder of an export, or a run to export first.")
    command.add_argument("images", type=Path, metavar="FOLDER", help="Folder to search; an image is embedded once.")
    command.add_argument("--text", help="Text to search with.")
    command.add_argument("--image", type=Path, metavar="FILE", help="Image to search with.")
    command.add_argument("--top", type=int, default=10, metavar="K", help="Images to show. Default: 10.")
    command.add_argument("--batch", type=int, default=32, metavar="N", help="Images embedded at once. Default: 32.")
    command.add_argument("--sheet", type=Path, metavar="HTML", help="File for the contact sheet.")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or the exit status of the error after printing its message on standard error."""
    gc.set_threshold(200_000)  # collecting the many permanent objects of torch and transformers takes 1.5 s
    args = build_parser().parse_args(argv)
    configure_libraries(getattr(args, "threads", None), allow_network=args.function is doctor)
    try:
        args.function(args)
    except SlqError as error:
        print(f"slq: error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
