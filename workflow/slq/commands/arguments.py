"""The argument parser of `slq`, built from a table of subcommands, and library settings made before imports."""

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
# Flags that rules pass and that are not paths, by name; the same in every command.
FLAGS: Options = {
    **dict.fromkeys(("settings", "layout"), JSON),
    **dict.fromkeys(("seed", "threads", "processes", "minutes"), INTEGER),
    **dict.fromkeys(("set", "split", "kind", "code", "train-dataset"), TEXT),
    "columns": {"default": ""},
    "same-image": {"default": ""},
}


@dataclass(frozen=True)
class LazyCall:
    """A call of `target` (`package.module:function`), imported when it is called, with the named arguments."""

    target: str
    names: tuple[str, ...]

    def __call__(self, args: argparse.Namespace) -> None:
        """Import the function and call it with its arguments from the command line."""
        values = vars(args)
        pkgutil.resolve_name(self.target)(*(values[name.replace("-", "_")] for name in self.names))


def declare_command(target: str, help_text: str, argument_names: str, *extra_flags: str) -> Command:
    """Declare a subcommand that calls one function.

    Args:
        target: the function, `package.module:function`.
        help_text: what it does, for `--help`.
        argument_names: names of the function's arguments in order, separated by blanks; each is a flag of the command.
        extra_flags: flags that are not passed to the function, such as `threads`, which is set before imports.
    """
    flag_names = tuple(argument_names.split())
    return LazyCall(target, flag_names), help_text, flag_options(*flag_names, *extra_flags)


def flag_options(*names: str) -> Options:
    """Return the options with these names, each as in `FLAGS`, or else a required path."""
    return {f"--{name}": FLAGS.get(name, PATH) for name in names}


def parse_arguments(commands: Commands, description: str | None, argv: list[str] | None) -> argparse.Namespace:
    """Parse the arguments of one subcommand; `bench train-step` is `train-step` in the group `bench`."""
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
    """Set environment variables of libraries before they are imported: threads of torch, log level, network access.

    Args:
        num_threads: CPU threads of all processes together; None leaves the default.
        num_processes: number of processes.
        allow_network: whether libraries may use the network, for commands that fetch or check what fetching will find.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not allow_network:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ["HF_HUB_OFFLINE"] = "1"
    if num_threads is not None:
        threads_per_process = str(max(num_threads // max(num_processes, 1), 1))
        os.environ.update(OMP_NUM_THREADS=threads_per_process, MKL_NUM_THREADS=threads_per_process)
