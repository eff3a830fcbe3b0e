"""The subcommands for those who use a trained retriever."""

import argparse
from pathlib import Path

from slq.arguments import PATH, Commands

RUN = {
    "type": Path,
    "metavar": "RUN",
    "help": "results/<preset>/<backbone>/<method>/seed<k>, or <scratch>/runs/…",
}
CONFIG = {"type": Path, "nargs": "+", "default": [Path("config.yaml")], "help": "config.yaml, and files laid over it"}


def export(args: argparse.Namespace) -> None:
    from slq.export.folder import export as write
    from slq.finished import find_run
    from slq.sources.listing import merged

    config = merged(args.config)
    write(find_run(args.run, config), config, args.folder)
    print(args.folder)


def search(args: argparse.Namespace) -> None:
    from slq.finished import find_run
    from slq.search.search import search as look
    from slq.sources.listing import merged

    config = merged(args.config)
    query = Path(args.query) if args.image else args.query
    how = (args.top, args.batch, args.skip_unreadable, args.sheet)
    print(look(find_run(args.run, config), Path(config["scratch"]), args.images, query, *how))


COMMANDS: Commands = {
    "export": (
        export,
        "write a run as a folder that sentence-transformers and PEFT load",
        {"run": RUN, "folder": {"type": Path, "metavar": "DIR", "help": "to be written"}, "--config": CONFIG},
    ),
    "search": (
        search,
        "find the images of a folder that a text or an image is most similar to",
        {
            "run": RUN,
            "query": {"metavar": "QUERY", "help": "a text"},
            "--images": PATH | {"metavar": "FOLDER", "help": "where to search; every image of it is embedded once"},
            "--image": {"action": "store_true", "help": "QUERY is the path of an image"},
            "--top": {"type": int, "default": 10, "metavar": "K", "help": "how many to show"},
            "--batch": {"type": int, "default": 32, "metavar": "N", "help": "images embedded at once"},
            "--sheet": {"type": Path, "metavar": "HTML", "help": "where to write the contact sheet"},
            "--skip-unreadable": {"action": "store_true", "help": "name files that are no images, and go on"},
            "--config": CONFIG,
        },
    ),
}
