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
INTEGER = {"type": int, "required": True}
TEXT = {"required": True}
# Flags that rules pass, by name, where they are no paths; the same in every command.
FLAGS: Options = {
    **dict.fromkeys(("settings", "layout"), JSON),
    **dict.fromkeys(("seed", "threads", "processes", "minutes"), INTEGER),
    **dict.fromkeys(("set", "split", "kind", "code", "train-dataset"), TEXT),
    "columns": {"default": ""},
    "same-image": {"default": ""},
}


@dataclass(frozen=True)
class LazyCall:
    """A call of `target`, `package.module:function`, which is imported only then, with the arguments of these names."""

    target: str
    names: tuple[str, ...]

    def __call__(self, args: argparse.Namespace) -> None:
        values = vars(args)
        pkgutil.resolve_name(self.target)(*(values[name.replace("-", "_")] for name in self.names))


def declare_command(target: str, help_text: str, argument_names: str, *extra_flags: str) -> Command:
    """Declare a command that one function does.

    Args:
        target: the function, `package.module:function`.
        help_text: what it does, for `--help`.
        argument_names: the function's arguments, in its order: the command's flags, with blanks between.
        extra_flags: flags that are not the function's: `threads`, of which libraries are told before they are imported.
    """
    flag_names = tuple(argument_names.split())
    return LazyCall(target, flag_names), help_text, flag_options(*flag_names, *extra_flags)


def flag_options(*names: str) -> Options:
    """Options of these names, each as `FLAGS` has it, or the path of a file or folder."""
    return {f"--{name}": FLAGS.get(name, PATH) for name in names}


def parse_arguments(commands: Commands, description: str | None, argv: list[str] | None) -> argparse.Namespace:
    """Arguments of one subcommand; `bench train-step` is `train-step` of the group `bench`."""
    parser = argparse.ArgumentParser(prog="slq", description=description)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    groups: dict[str, Any] = {}
    for name, (function, help_text, options) in commands.items():
        group, _, subcommand = name.rpartition(" ")
        if group and group not in groups:
            group_parser = subparsers.add_parser(group, help=f"see slq {group} --help")
            groups[group] = group_parser.add_subparsers(required=True, metavar="COMMAND")
        command = groups.get(group, subparsers).add_parser(subcommand, help=help_text, description=help_text)
        command.set_defaults(function=function, command=name)
        for flag, keywords in options.items():
            command.add_argument(flag, **keywords)
    return parser.parse_args(argv)


def configure_libraries(num_threads: int | None, num_processes: int, allow_network: bool) -> None:
    """Say how many threads torch may use before it is imported, and keep libraries off the log.

    The threads are those of all processes together. They are kept off the network too, unless `allow_network`, or
    looking at what a fetch will find.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not allow_network:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ["HF_HUB_OFFLINE"] = "1"
    if num_threads is not None:
        threads_per_process = str(max(num_threads // max(num_processes, 1), 1))
        os.environ.update(OMP_NUM_THREADS=threads_per_process, MKL_NUM_THREADS=threads_per_process)
