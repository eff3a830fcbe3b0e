"""Subcommands that export a trained retriever and search with it."""

import argparse
from pathlib import Path

from slq.commands.arguments import Commands
from slq.common.errors import SlqError

RUN_ARGUMENT = {"type": Path, "metavar": "RUN", "help": "results/<preset>/<backbone>/<method>/seed<k>"}
CONFIG_OPTION = {
    "type": Path,
    "nargs": "+",
    "default": [Path("config.yaml")],
    "help": "config.yaml, and files laid over it",
}


def export(args: argparse.Namespace) -> None:
    """Export a trained run as a folder that sentence-transformers and PEFT load (`slq export`)."""
    from slq.export.folder import export_run
    from slq.export.trained_run import find_run
    from slq.sources.listing import load_merged_config

    config = load_merged_config(args.config)
    export_run(find_run(args.run, config), config, args.folder)
    print(args.folder)


def search(args: argparse.Namespace) -> None:
    """Print the images of a folder that are most similar to a text or an image (`slq search`).

    Raises:
        SlqError: not exactly one of `--text` and `--image` is given.
    """
    from slq.export.folder import export_once
    from slq.export.search import search_images
    from slq.export.trained_run import find_run
    from slq.sources.listing import load_merged_config

    if (args.text is None) == (args.image is None):
        raise SlqError("expected one query: --text TEXT or --image FILE")
    config = load_merged_config(args.config)
    is_export = (args.model / "retriever.json").is_file()
    folder = args.model if is_export else export_once(find_run(args.model, config), config)
    query = args.image if args.text is None else args.text
    options = (args.top, args.batch, args.sheet)
    print(search_images(folder, Path(config["scratch"]), args.images, query, *options))


COMMANDS: Commands = {
    "export": (
        export,
        "write a run as a folder that sentence-transformers and PEFT load",
        {
            "run": RUN_ARGUMENT,
            "folder": {"type": Path, "metavar": "DIR", "help": "to be written"},
            "--config": CONFIG_OPTION,
        },
    ),
    "search": (
        search,
        "find the images of a folder that a text or an image is most similar to",
        {
            "model": {"type": Path, "metavar": "EXPORT", "help": "what slq export wrote, or a run, exported first"},
            "images": {"type": Path, "metavar": "FOLDER", "help": "where to search; every image is embedded once"},
            "--text": {"help": "find what is most similar to this text"},
            "--image": {"type": Path, "metavar": "FILE", "help": "find what is most similar to this image"},
            "--top": {"type": int, "default": 10, "metavar": "K", "help": "how many to show"},
            "--batch": {"type": int, "default": 32, "metavar": "N", "help": "images embedded at once"},
            "--sheet": {"type": Path, "metavar": "HTML", "help": "where to write the contact sheet"},
            "--config": CONFIG_OPTION,
        },
    ),
}
