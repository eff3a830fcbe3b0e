"""The subcommands about cost: what runs will take, and what they took."""

import argparse

from slq.arguments import JSON, PATH, TEXT, WHOLE, Commands


def bench(args: argparse.Namespace) -> None:
    from slq.training.bench import bench as time_steps

    time_steps(args.settings, args.seed, args.steps, args.backbone, args.data, args.train_set, args.out)


def forecast(args: argparse.Namespace) -> None:
    from slq.accounting import estimate
    from slq.accounting.benches import read_benches
    from slq.accounting.forecast import forecast as cells_of
    from slq.files import write_text

    cells, stores = cells_of(args.settings, read_benches(args.settings, args.results))
    print(estimate.table(args.settings, cells, stores))
    write_text(args.out, estimate.rows(cells))


def account(args: argparse.Namespace) -> None:
    from slq.accounting.ledger import ledger_csv, read_ledger
    from slq.files import write_text

    write_text(args.out, ledger_csv(read_ledger(args.settings, args.results)))


COMMANDS: Commands = {
    "bench": (
        bench,
        "time a few steps of a run, for the forecast",
        {
            **{"--settings": JSON, "--seed": WHOLE, "--steps": WHOLE, "--backbone": PATH, "--data": PATH},
            **{"--train-set": TEXT, "--out": PATH, "--threads": WHOLE},
        },
    ),
    "account": (
        account,
        "say what a preset's runs spent, from their events alone",
        {"--settings": JSON, "--results": PATH, "--out": PATH},
    ),
    "forecast": (
        forecast,
        "say what a preset will cost, from sizes and bench files alone",
        {"--settings": JSON, "--results": PATH, "--out": PATH},
    ),
}
