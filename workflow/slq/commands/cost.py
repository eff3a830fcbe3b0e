"""The subcommands about cost: whether runs can start and what they will take, what they took, and steps timed."""

import argparse
from pathlib import Path
from typing import Any

from slq.commands.arguments import JSON, PATH, Commands
from slq.common.errors import SlqError


def forecast(args: argparse.Namespace) -> None:
    from slq.cost.forecast import forecast as cells_of
    from slq.cost.forecast_text import table

    print(table(args.settings, *cells_of(args.settings)))


def account(args: argparse.Namespace) -> None:
    from slq.common.files import write_text
    from slq.cost.ledger import ledger_csv, read_ledger

    write_text(args.out, ledger_csv(read_ledger(args.settings, args.results)))


def doctor(args: argparse.Namespace) -> None:
    from slq.preflight.checks import FIRST
    from slq.preflight.preflight import examine

    options = [part for profile in args.profile or ["slurm"] for part in ("--profile", profile)]
    options += ["--default-resources", *args.default_resources] if args.default_resources else []
    page, first = examine(args.config, args.preset, options)
    print(page, flush=True)
    if first:
        raise SlqError(f"{first} to be done before a run can start: the lines marked [{FIRST}]")


def train_step(args: argparse.Namespace) -> None:
    from slq.common.files import write_json
    from slq.config.cost_slices import step_settings
    from slq.config.loading import load
    from slq.cost.bench.train_step import bench_train_step, step_table
    from slq.sources.listing import merged

    config = load(merged(args.config or [Path("config.yaml")]) | {"preset": args.preset})
    if args.backbone not in config["backbones"]:
        raise SlqError(f"--backbone {args.backbone}: not under `backbones`; there are {', '.join(config['backbones'])}")
    settings = step_settings(config, args.backbone, args.batch, args.dtype)
    found = bench_train_step(settings, args.variants, args.repeats, args.folder)
    print(step_table(found))
    if args.json:
        write_json(args.json, found)


VARIANTS = ("reference", "recompute", "vision", "resident", "kv", "kv_disk", "lora", "full_ft")
STEP: dict[str, dict[str, Any]] = {
    "config": {"type": Path, "nargs": "*", "help": "config.yaml, and files laid over it"},
    "--preset": {"default": "paper", "help": "whose training set and number of queries it is; paper"},
    "--backbone": {"required": True, "help": "of config.yaml, whose sizes it takes; weights are random"},
    "--batch": {"type": int, "default": 4, "help": "images at once; 4"},
    "--repeats": {"type": int, "default": 5, "help": "of which the median is taken; 5"},
    "--dtype": {"default": "float32", "choices": ["float32", "bfloat16", "float64"], "help": "of the weights; float32"},
    "--threads": {"type": int, "help": "of the processor"},
    "--folder": {"type": Path, "default": Path("scratch"), "help": "on the disk that prefixes are read from; scratch"},
    "--variants": {"nargs": "+", "default": VARIANTS, "choices": VARIANTS, "help": "which; all"},
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
        "time a training step as released, and with each way to keep prefixes, on a real shape",
        STEP,
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
