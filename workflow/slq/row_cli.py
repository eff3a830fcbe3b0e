"""The subcommands of rows that are no runs, comparators and what is re-ranked, and of the pilot."""

import argparse

from slq.arguments import JSON, PATH, WHOLE, Commands


def embed(args: argparse.Namespace) -> None:
    from slq.comparators.embed import embed_row

    embed_row(args.settings, args.model, args.data, args.work, args.out)


def rerank(args: argparse.Namespace) -> None:
    from slq.reranking.rerank import rerank as look_again

    look_again(args.settings, args.backbone, args.coarse, args.by, args.data, args.work, args.out)


def measure_pilot(args: argparse.Namespace) -> None:
    from slq.comparators.pilot import measure_pilot as measure

    measure(args.settings, args.backbone, args.data, args.out)


def render_pilot(args: argparse.Namespace) -> None:
    from slq.data.named import named_images, open_named
    from slq.reporting.pilot import render_pilot as render

    files = named_images(args.settings, args.data)
    render(args.settings, args.results, lambda name: open_named(files[name]), args.out)


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
    "pilot measure": (
        measure_pilot,
        "write how similar an untrained backbone finds texts and images, by read-out",
        {"--settings": JSON, "--backbone": PATH, "--data": PATH, "--out": PATH, "--threads": WHOLE},
    ),
    "pilot render": (
        render_pilot,
        "draw the pilot's figure",
        {"--settings": JSON, "--results": PATH, "--data": PATH, "--out": PATH},
    ),
}
