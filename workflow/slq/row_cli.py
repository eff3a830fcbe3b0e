"""The subcommands of rows that are no runs: comparators, and what is re-ranked."""

import argparse

from slq.arguments import JSON, PATH, WHOLE, Commands


def embed(args: argparse.Namespace) -> None:
    from slq.comparators.embed import embed_row

    embed_row(args.settings, args.model, args.data, args.work, args.out)


COMMANDS: Commands = {
    "embed": (
        embed,
        "measure a comparator, or an untrained read-out, on the retrieval sets",
        {
            **{"--settings": JSON, "--model": PATH, "--data": PATH, "--work": PATH, "--out": PATH},
            "--threads": WHOLE,
        },
    ),
}
