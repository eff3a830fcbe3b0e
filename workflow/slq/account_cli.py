"""The subcommands about cost: whether runs can start and what they will take, and what they took."""

import argparse
from pathlib import Path

from slq.arguments import JSON, PATH, Commands
from slq.errors import SlqError


def forecast(args: argparse.Namespace) -> None:
    from slq.accounting import estimate, row_estimate
    from slq.accounting.benches import read_benches
    from slq.accounting.forecast import forecast as cells_of
    from slq.accounting.row_costs import row_costs
    from slq.files import write_text

    benches = read_benches(args.settings, args.results)
    cells, stores = cells_of(args.settings, benches)
    costs = row_costs(args.settings, benches)
    print(estimate.table(args.settings, cells, stores), row_estimate.table(args.settings, costs), sep="\n\n")
    write_text(args.out, estimate.rows(cells))
    write_text(args.rows, row_estimate.rows(costs))


def account(args: argparse.Namespace) -> None:
    from slq.accounting.ledger import ledger_csv, read_ledger
    from slq.files import write_text

    write_text(args.out, ledger_csv(read_ledger(args.settings, args.results)))


def doctor(args: argparse.Namespace) -> None:
    from slq.doctor.checks import FIRST
    from slq.doctor.doctor import examine

    options = [part for profile in args.profile or ["slurm"] for part in ("--profile", profile)]
    options += ["--default-resources", *args.default_resources] if args.default_resources else []
    page, first = examine(args.config, args.preset, options)
    print(page, flush=True)
    if first:
        raise SlqError(f"{first} to be done before a run can start: the lines marked [{FIRST}]")


COMMANDS: Commands = {
    "account": (
        account,
        "say what a preset's runs spent, from their events alone",
        {"--settings": JSON, "--results": PATH, "--out": PATH},
    ),
    "forecast": (
        forecast,
        "say what a preset will cost, from sizes and bench files alone",
        {"--settings": JSON, "--results": PATH, "--out": PATH, "--rows": PATH},
    ),
    "doctor": (
        doctor,
        "look whether a run on a cluster can start, and say what it would submit",
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
