"""The subcommands of rows that are no runs: comparators, and what is re-ranked."""

import argparse

from slq.arguments import JSON, PATH, WHOLE, Commands


def embed(args: argparse.Namespace) -> None:
    from slq.comparators.embed import embed_row

    embed_row(args.settings, args.model, args.data, args.work, args.out)


def rerank(args: argparse.Namespace) -> None:
    from slq.reranking.rerank import rerank as look_again

    look_again(args.settings, args.backbone, args.coarse, args.by, args.data, args.work, args.out)


COMMANDS: Commands = {
    "embed": (
        embed,
        "measure a comparator, or an untrained read-out, on the retrieval sets",
        {
            **{"--settings": JSON, "--model": PATH, "--data": PATH, "--work": PATH, "--out": PATH},
            "--threads": WHOLE,
        },
    ),
    "rerank": (
        rerank,
        "let a backbone look again at the first candidates of a coarse list",
        {
            **{"--settings": JSON, "--backbone": PATH, "--coarse": PATH, "--by": PATH, "--data": PATH},
            **{"--work": PATH, "--out": PATH, "--threads": WHOLE},
        },
    ),
}
