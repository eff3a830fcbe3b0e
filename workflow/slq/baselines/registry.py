"""Registry of kinds of baselines: each module `slq/baselines/kinds/<kind>.py` defines one, imported when needed.

A baseline is a system that is evaluated but not trained here: an entry of `baselines` in config.yaml. A kind's module
must be cheap to import, because the configuration and the Snakefile use kinds too: import models inside `evaluate`. The
other members affect results only through the settings, and are therefore not part of a job's code fingerprint
(slq/common/fingerprint.py): import the modules of `slq.config` that they need inside them.
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
    """A kind of baselines: how they are described and evaluated. Every member is required.

    Attributes:
        name: name of the kind's module, and `kind` of config entries and results.
        schema: JSON schema of a config entry, from `entry_schema`.
        on_each_backbone: whether an entry defines one baseline per backbone of the preset, named `<backbone>.<entry>`.
            Otherwise an entry defines one baseline with the entry's name.
        table_group: label of the group of rows in the extended Table 1; empty for baselines that are printed below the
            row of the paper that they reproduce.
    """

    name: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]
    on_each_backbone: ClassVar[bool]
    table_group: ClassVar[str]

    @abstractmethod
    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return the label of a baseline, and other attributes of `slq.config.baselines.Baseline`.

        Args:
            config: the configuration, already validated against its schema.
            entry: the entry of `baselines`, with its name, and with its backbone for a kind `on_each_backbone`.

        Raises:
            SlqError: the entry is not compatible with the preset.
        """

    @abstractmethod
    def inputs(self, config: Config, entry: Config) -> dict[str, tuple[str, str]]:
        """Return the evaluated models as (catalogue, name), by their names in metrics files.

        The catalogue is `backbones`, `encoders` or `methods`. `methods` refers to the method's run on the entry's
        backbone with the first seed.
        """

    @abstractmethod
    def settings(self, config: Config, entry: Config) -> Config:
        """Return the settings that `evaluate` needs in addition to those of all kinds."""

    @abstractmethod
    def evaluate(self, settings: Config, inputs: Mapping[str, Path], data: Path, out: Path, events: Any) -> Evaluation:
        """Load the models; return the image processor and an iterator that ranks every retrieval dataset.

        Args:
            settings: settings of all kinds (preset, baseline, kind, datasets) and the kind's own settings.
            inputs: folders of the models that `inputs` returns, by name.
            data: folder of the datasets.
            out: folder of the results, for files that the kind writes in addition to metrics and ranks.
            events: event log of the job.

        Returns:
            the image processor, and an iterator of (entry in the settings, split, variants, rank table), one per
            dataset.
        """


def entry_schema(description: str, optional: Mapping[str, Any], **required: Mapping[str, Any]) -> dict[str, Any]:
    """Build the JSON schema of a kind's entries from optional and required keys."""
    properties = {"kind": {"description": "The kind of baseline."}, **required, **optional}
    closed = {"type": "object", "additionalProperties": False, "required": list(required)}
    return closed | {"description": description, "properties": properties}


def key_of(catalogue: str) -> dict[str, str]:
    """Build the JSON schema of a value that must be a key of a catalogue in config.yaml."""
    return {"$ref": "#/$defs/name", "keyOf": catalogue, "description": f"A key of `{catalogue}`."}


@cache
def list_kinds() -> list[str]:
    """List the names of all kinds; modules with a leading underscore are not kinds."""
    modules = iter_modules(importlib.import_module("slq.baselines.kinds").__path__)
    return sorted(module.name for module in modules if not module.name.startswith("_"))


@cache
def find_kind(name: str) -> BaselineKind:
    """Return the kind with a given name.

    Raises:
        SlqError: no such kind exists, its module does not define exactly one, or it lacks a required member.
    """
    if name not in list_kinds():
        raise SlqError(
            f"there is no kind of baseline '{name}'; expected one of {', '.join(list_kinds())} (docs/backbones.md)"
        )
    module = importlib.import_module(f"slq.baselines.kinds.{name}")
    kind: BaselineKind = find_class(module, BaselineKind, "a kind of baseline", "docs/backbones.md")()
    return kind


def find_baselines(config: Config) -> dict[str, tuple[BaselineKind, Config]]:
    """Return the kind and the entry of each baseline of the active preset, by name, in the order of the tables.

    The order is by kind, then by backbone. An entry has its name, and its backbone if its kind is `on_each_backbone`.
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
