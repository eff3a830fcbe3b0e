"""The subcommands of training: what is kept before a run, the run, and the search for its rate."""

import argparse
import sys
from pathlib import Path

from slq.arguments import JSON, PATH, TEXT, WHOLE, Commands


def base(args: argparse.Namespace) -> None:
    from slq.training.record import register_base

    register_base(args.settings, args.backbone, args.adapter, args.run)


def select(args: argparse.Namespace) -> None:
    from slq.training.gate import after_checks

    after_checks()
    from slq.evaluation.run import recalls_on
    from slq.training.selection import select_rate

    paths = (args.backbone, args.data, args.train_set, args.work, args.out)
    select_rate(args.settings, args.seed, *paths, recalls_on(args.settings))


def store(args: argparse.Namespace) -> None:
    from slq.training.gate import after_checks

    after_checks()
    from slq.prefixes.build import store_prefixes

    paths = (args.backbone, args.data, args.train_set, args.work, args.out, args.events)
    store_prefixes(args.settings, *paths, args.code)


def train(args: argparse.Namespace) -> None:
    from slq.training.gate import after_checks

    after_checks()
    from slq.evaluation.run import recalls_on
    from slq.training.processes import launched
    from slq.training.run import run_training

    paths = (args.backbone, args.data, args.train_set, args.work, args.adapter, args.run, args.events)
    if not launched(args.processes, sys.argv[1:]):
        validate = recalls_on(args.settings)
        run_training(args.settings, args.seed, *paths, validate, args.code, args.minutes, args.prefixes)


RUN = {"--settings": JSON, "--backbone": PATH, "--adapter": PATH, "--run": PATH, "--threads": WHOLE}
COMMANDS: Commands = {
    "store": (
        store,
        "keep what does not change of the images that training reads",
        {
            **{"--settings": JSON, "--backbone": PATH, "--data": PATH, "--train-set": TEXT, "--work": PATH},
            **{"--out": PATH, "--events": PATH, "--code": TEXT, "--threads": WHOLE},
        },
    ),
    "base": (base, "record the untouched backbone as a run", RUN),
    "train": (
        train,
        "train a run",
        {
            **RUN,
            **{"--seed": WHOLE, "--data": PATH, "--train-set": TEXT, "--work": PATH, "--events": PATH, "--code": TEXT},
            **{"--processes": WHOLE, "--minutes": WHOLE, "--prefixes": {"type": Path, "nargs": "?"}},
        },
    ),
    "select": (
        select,
        "try learning rates on the val split",
        {
            **{"--settings": JSON, "--seed": WHOLE, "--backbone": PATH, "--data": PATH, "--train-set": TEXT},
            **{"--work": PATH, "--out": PATH, "--threads": WHOLE},
        },
    ),
}
