"""How a table of subcommands becomes a command line, and what libraries are told before they are imported."""

import argparse
import json
import os
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Options = dict[str, dict[str, Any]]
Command = tuple[Callable[[argparse.Namespace], None], str, Options]
Commands = dict[str, Command]

PATH = {"type": Path, "required": True}
JSON = {"type": json.loads, "required": True}
WHOLE = {"type": int, "required": True}
TEXT = {"required": True}
# Flags that rules pass, by name, where they are no paths; the same in every command.
FLAGS: Options = {
    **dict.fromkeys(("settings", "layout"), JSON),
    **dict.fromkeys(("seed", "threads", "processes", "minutes"), WHOLE),
    **dict.fromkeys(("set", "split", "kind", "code", "train-set"), TEXT),
    "columns": {"default": ""},
    "same-image": {"default": ""},
}


@dataclass(frozen=True)
class Call:
    """A call of `target`, `package.module:function`, which is imported only then, with the arguments of these names."""

    target: str
    names: tuple[str, ...]

    def __call__(self, args: argparse.Namespace) -> None:
        given = vars(args)
        pkgutil.resolve_name(self.target)(*(given[name.replace("-", "_")] for name in self.names))


def of_rule(target: str, text: str, names: str, *more: str) -> Command:
    """Declare a command that one function does.

    Args:
        target: the function, `package.module:function`.
        text: what it does, for `--help`.
        names: the function's arguments, in its order: the command's flags, with blanks between.
        more: flags that are not the function's: `threads`, of which libraries are told before they are imported.
    """
    given = tuple(names.split())
    return Call(target, given), text, flags(*given, *more)


def flags(*names: str) -> Options:
    """Options of these names, each as `FLAGS` has it, or the path of a file or folder."""
    return {f"--{name}": FLAGS.get(name, PATH) for name in names}


def parse(commands: Commands, description: str | None, argv: list[str] | None) -> argparse.Namespace:
    """Arguments of one subcommand; `bench train-step` is `train-step` of the group `bench`."""
    parser = argparse.ArgumentParser(prog="slq", description=description)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    groups: dict[str, Any] = {}
    for name, (function, text, options) in commands.items():
        group, _, last = name.rpartition(" ")
        if group and group not in groups:
            of_group = subparsers.add_parser(group, help=f"see slq {group} --help")
            groups[group] = of_group.add_subparsers(required=True, metavar="COMMAND")
        command = groups.get(group, subparsers).add_parser(last, help=text, description=text)
        command.set_defaults(function=function, command=name)
        for flag, how in options.items():
            command.add_argument(flag, **how)
    return parser.parse_args(argv)


def quiet_libraries(threads: int | None, processes: int, fetching: bool) -> None:
    """Say how many threads torch may use before it is imported, and keep libraries off the log.

    The threads are those of all processes together. They are kept off the network too, unless `fetching`, or looking at
    what a fetch will find.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not fetching:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ["HF_HUB_OFFLINE"] = "1"
    if threads is not None:
        own = str(max(threads // max(processes, 1), 1))
        os.environ.update(OMP_NUM_THREADS=own, MKL_NUM_THREADS=own)
