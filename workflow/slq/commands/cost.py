"""Subcommands about cost: preflight checks, the forecast, GPU hours spent, and timed training steps."""

import argparse
from pathlib import Path
from typing import Any

from slq.commands.arguments import JSON, PATH, Commands
from slq.common.errors import SlqError


def forecast(args: argparse.Namespace) -> None:
    """Print the cost forecast of a preset (`slq forecast`)."""
    from slq.cost.forecast import forecast_preset
    from slq.cost.forecast_table import format_forecast

    print(format_forecast(args.settings, *forecast_preset(args.settings)))


def account(args: argparse.Namespace) -> None:
    """Write the ledger of the hours that a preset's runs took (`slq account`)."""
    from slq.common.files import write_text
    from slq.cost.ledger import format_ledger_csv, read_ledger

    write_text(args.out, format_ledger_csv(read_ledger(args.settings, args.results)))


def doctor(args: argparse.Namespace) -> None:
    """Print the preflight report of a run on a cluster (`slq doctor`).

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


def train_step(args: argparse.Namespace) -> None:
    """Time a training step with each way to cache images, and print a table (`slq bench train-step`).

    Raises:
        SlqError: the configuration has no such backbone.
    """
    from slq.common.files import write_json
    from slq.config.cost_settings import train_step_settings
    from slq.config.loading import validate_config
    from slq.cost.bench.train_step import bench_train_step, format_step_table
    from slq.cost.bench.variants import list_variants
    from slq.sources.listing import load_merged_config

    config = validate_config(load_merged_config(args.config or [Path("config.yaml")]) | {"preset": args.preset})
    if args.backbone not in config["backbones"]:
        raise SlqError(f"--backbone {args.backbone}: not under `backbones`; there are {', '.join(config['backbones'])}")
    settings = train_step_settings(config, args.backbone, args.batch, args.dtype)
    timings = bench_train_step(settings, args.variants or list_variants(settings), args.repeats, args.folder)
    print(format_step_table(timings))
    if args.json:
        write_json(args.json, timings)


TRAIN_STEP_OPTIONS: dict[str, dict[str, Any]] = {
    "config": {"type": Path, "nargs": "*", "help": "config.yaml, and files laid over it"},
    "--preset": {"default": "paper", "help": "whose training set and number of queries it is; paper"},
    "--backbone": {"required": True, "help": "of config.yaml, whose sizes it takes; weights are random"},
    "--batch": {"type": int, "default": 4, "help": "images at once; 4"},
    "--repeats": {"type": int, "default": 5, "help": "of which the median is taken; 5"},
    "--dtype": {"default": "float32", "choices": ["float32", "bfloat16", "float64"], "help": "of the weights; float32"},
    "--threads": {"type": int, "help": "of the processor"},
    "--folder": {
        "type": Path,
        "default": Path("scratch"),
        "help": "on the disk that the feature cache is read from; scratch",
    },
    "--variants": {"nargs": "+", "help": "which: reference, none, features, batch, kv, kv_disk, a method; all"},
    "--json": {"type": Path, "metavar": "FILE", "help": "all that was measured"},
}
COMMANDS: Commands = {
    "account": (
        account,
        "say what a preset's runs spent, from their events alone",
        {"--settings": JSON, "--results": PATH, "--out": PATH},
    ),
    "forecast": (
        forecast,
        "say what a preset will cost, from sizes alone",
        {"--settings": JSON},
    ),
    "bench train-step": (
        train_step,
        "time a training step as released, and with each way to cache images, on a real shape",
        TRAIN_STEP_OPTIONS,
    ),
    "doctor": (
        doctor,
        "look whether a run on a cluster can start, and say what it would cost",
        {
            "config": {"type": Path, "nargs": "*", "help": "config.yaml, and files laid over it"},
            "--preset": {"required": True, "help": "the preset that is to run"},
            "--profile": {"action": "append", "help": "as of snakemake, in the same order; without any: slurm"},
            "--default-resources": {
                "nargs": "+",
                "metavar": "KEY=VALUE",
                "help": "as of snakemake: partition, account",
            },
        },
    ),
}
