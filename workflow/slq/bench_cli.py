"""The subcommands that time: steps of a run for the forecast, and real shapes against the released algorithm."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slq.arguments import JSON, PATH, TEXT, WHOLE, Commands
from slq.errors import SlqError


def run(args: argparse.Namespace) -> None:
    from slq.training.bench import bench as time_steps

    time_steps(args.settings, args.seed, args.steps, args.backbone, args.data, args.train_set, args.out)


def train_step(args: argparse.Namespace) -> None:
    from slq.bench.report import step_table
    from slq.bench.train_step import bench_train_step, printed_hours

    def measure(settings: Any) -> Any:
        printed = printed_hours(args.reference, settings["reference"])
        return bench_train_step(settings, args.variants, args.repeats, args.folder, printed)

    _shaped(args, measure, step_table)


def embed(args: argparse.Namespace) -> None:
    from slq.bench.embed import bench_embed
    from slq.bench.report import embed_table

    _shaped(args, lambda settings: bench_embed(settings, args.images, args.repeats, args.folder), embed_table)


def rerank(args: argparse.Namespace) -> None:
    from slq.bench.report import rerank_table
    from slq.bench.rerank import bench_rerank

    _shaped(args, lambda settings: bench_rerank(settings, args.candidates, args.repeats), rerank_table)


def _shaped(args: argparse.Namespace, measure: Callable[[Any], Any], table: Callable[[Any], str]) -> None:
    """Measure on the shape of a backbone in config.yaml, print it, and write it if a file is named."""
    from slq.config import load
    from slq.cost_settings import step_settings
    from slq.files import write_json
    from slq.sources.listing import merged

    config = load(merged(args.config or [Path("config.yaml")]) | {"preset": args.preset})
    if args.backbone not in config["backbones"]:
        raise SlqError(f"--backbone {args.backbone}: not under `backbones`; there are {', '.join(config['backbones'])}")
    found = measure(step_settings(config, args.backbone, args.batch, args.dtype))
    print(table(found))
    if args.json:
        write_json(args.json, found)


VARIANTS = ("reference", "recompute", "vision", "resident", "kv", "kv_disk", "lora", "full_ft")
SHAPE: dict[str, dict[str, Any]] = {
    "config": {"type": Path, "nargs": "*", "help": "config.yaml, and files laid over it"},
    "--preset": {"default": "paper", "help": "whose training set and number of queries it is; paper"},
    "--backbone": {"required": True, "help": "of config.yaml, whose sizes it takes; weights are random"},
    "--batch": {"type": int, "default": 4, "help": "images at once; 4"},
    "--repeats": {"type": int, "default": 5, "help": "of which the median is taken; 5"},
    "--dtype": {"default": "float32", "choices": ["float32", "bfloat16", "float64"], "help": "of the weights; float32"},
    "--threads": {"type": int, "help": "of the processor"},
    "--folder": {"type": Path, "default": Path("scratch"), "help": "on the disk that prefixes are read from; scratch"},
    "--json": {"type": Path, "metavar": "FILE", "help": "all that was measured"},
}
COMMANDS: Commands = {
    "bench run": (
        run,
        "time a few steps of a run, for the forecast",
        {
            **{"--settings": JSON, "--seed": WHOLE, "--steps": WHOLE, "--backbone": PATH, "--data": PATH},
            **{"--train-set": TEXT, "--out": PATH, "--threads": WHOLE},
        },
    ),
    "bench train-step": (
        train_step,
        "time a training step as released, and with each way to keep prefixes, on a real shape",
        {
            **SHAPE,
            "--variants": {"nargs": "+", "default": VARIANTS, "choices": VARIANTS, "help": "which; all"},
            "--reference": {"type": Path, "default": Path("paper_tables/reference"), "help": "the paper's values"},
        },
    ),
    "bench embed": (
        embed,
        "time embedding for evaluation as released and as here, on a real shape",
        SHAPE | {"--images": {"type": int, "default": 8, "help": "to embed, with the captions of each; 8"}},
    ),
    "bench rerank": (
        rerank,
        "time asking about an image's candidates one by one and behind one prefix, on a real shape",
        SHAPE | {"--candidates": {"type": int, "default": 5, "help": "of each image; 5"}},
    ),
}
