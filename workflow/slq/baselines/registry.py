"""The kinds of baselines by name: `slq/baselines/kinds/<kind>.py` defines one. None is imported until asked.

A baseline is a system that is evaluated and not trained here, an entry of `baselines` in config.yaml. A kind's file is
cheap to import, because the configuration and the Snakefile ask kinds too: models are imported inside `evaluate`. Its
other parts change no result but through the settings, so they are not part of a job's code (slq/common/fingerprint.py):
what they need of the configuration is imported inside them.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

from slq.common.errors import SlqError
from slq.common.registry import find_class

Config = dict[str, Any]
Evaluation = tuple[Any, Iterator[Any]]


class BaselineKind(ABC):
    """Kind of baselines: how they are described and evaluated; no part has a default.

    Attributes:
        name: the name of its file, the `kind` of entries and results.
        schema: JSON schema of an entry, by `entry_schema`.
        on_each_backbone: whether an entry is a baseline on each backbone of the preset, named `<backbone>.<entry>`; if
            not, it is one baseline by its own name.
        table_group: the label of the group of Table 1 extended that holds its baselines; empty for those that stand
            below the row of the paper that they reproduce.
    """

    name: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]
    on_each_backbone: ClassVar[bool]
    table_group: ClassVar[str]

    @abstractmethod
    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return the label of a baseline, and other attributes of `slq.config.baselines.Baseline`.

        Args:
            config: the configuration, whose values fit the schema.
            entry: the entry of `baselines` with its name, and with the backbone if the kind is `on_each_backbone`.

        Raises:
            SlqError: the entry does not fit the preset.
        """

    @abstractmethod
    def inputs(self, config: Config, entry: Config) -> dict[str, tuple[str, str]]:
        """Return what is evaluated, by the names that metrics files give it: catalogue and name of each.

        The catalogue is `backbones`, `encoders`, or `methods`: then it is the method's run on the entry's backbone, of
        several seeds the first.
        """

    @abstractmethod
    def settings(self, config: Config, entry: Config) -> Config:
        """Return the settings that `evaluate` needs beside those of all kinds."""

    @abstractmethod
    def evaluate(self, settings: Config, inputs: Mapping[str, Path], data: Path, out: Path, events: Any) -> Evaluation:
        """Load the models, and return the image processor and an iterator that ranks every retrieval dataset.

        Args:
            settings: those of all kinds (preset, baseline, kind, datasets) and the kind's own.
            inputs: the folder of each of `inputs`.
            data: the folder of the datasets.
            out: the folder of results, for what the kind writes beside metrics and ranks.
            events: the job's event log.

        Returns:
            The image processor; and of each dataset its entry in the settings, its split, its variants, and their rank
            table.
        """


def entry_schema(description: str, optional: Mapping[str, Any], **required: Mapping[str, Any]) -> dict[str, Any]:
    """Build the schema of a kind's entries from keys that may be absent and keys that are needed."""
    properties = {"kind": {"description": "The kind of baseline."}, **required, **optional}
    closed = {"type": "object", "additionalProperties": False, "required": list(required)}
    return closed | {"description": description, "properties": properties}


def key_of(catalogue: str) -> dict[str, str]:
    """Build the schema of a key of a catalogue."""
    return {"$ref": "#/$defs/name", "keyOf": catalogue, "description": f"A key of `{catalogue}`."}


@cache
def list_kinds() -> list[str]:
    """List the names of all kinds; a module that begins with an underscore is none."""
    modules = iter_modules(importlib.import_module("slq.baselines.kinds").__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


@cache
def find_kind(name: str) -> BaselineKind:
    """Return the kind of a name.

    Raises:
        SlqError: there is no such kind, its file does not define exactly one, or it lacks a part.
    """
    if name not in list_kinds():
        raise SlqError(
            f"there is no kind of baseline '{name}'; expected one of {', '.join(list_kinds())} (docs/backbones.md)"
        )
    module = importlib.import_module(f"slq.baselines.kinds.{name}")
    kind: BaselineKind = find_class(module, BaselineKind, "a kind of baseline", "docs/backbones.md")()
    return kind


def find_baselines(config: Config) -> dict[str, tuple[BaselineKind, Config]]:
    """Return kind and entry of each baseline of the active preset, by name in the tables' order: kind after kind.

    An entry has its name, and its backbone if its kind is on each backbone.
    """
    preset = config["presets"][config["preset"]]
    entries = [config["baselines"][name] | {"name": name} for name in preset["baselines"]]
    found = {}
    for kind in map(find_kind, dict.fromkeys(entry["kind"] for entry in entries)):
        for backbone in preset["backbones"] if kind.on_each_backbone else [""]:
            for entry in (entry for entry in entries if entry["kind"] == kind.name):
                name = f"{backbone}.{entry['name']}" if backbone else entry["name"]
                found[name] = (kind, entry | ({"backbone": backbone} if backbone else {}))
    return found
