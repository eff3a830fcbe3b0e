"""Runs of a preset, the rows of its tables, and the settings of a run.

A run has a backbone, a method and a seed. The method is a method of `slq.methods` or a variant of such a method. A
variant is an entry of `hyperparameters` that names its method (`of`) and lists the hyperparameters that differ. A trial
of the learning-rate search is a run of a method or variant at another learning rate. It has no entry, and its name is
that of its folder, such as `slq/lr0.03`. Likewise `lora/mix0.25` is the run of LoRA interpolated with base, with a
quarter of its update.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from slq.common.files import read_csv
from slq.config.yaml_files import REPOSITORY_ROOT
from slq.methods.registry import BASE, Method, find_method, list_methods

Config = dict[str, Any]

BASE_SEED = 0  # seed folder of the unchanged base, in which nothing is random
MIN_SEEDS = 3  # with fewer seeds, a difference between methods is one of these runs only, and decides nothing
DISK_CACHE_MODES = ("features", "kv")  # values of `training.image_cache` that need a caching job before the run
TABLE3 = REPOSITORY_ROOT / "paper_tables" / "reference" / "table3.csv"
TRIAL = "/lr"  # between the name of a method or variant and the learning rate in the name of a trial
MIX = "/mix"  # between the name of a method or variant and the fraction in the name of an interpolated run
TRIAL_PATTERN = rf"{TRIAL}[-+.\de]+"  # the end of a trial's name, as a regular expression
MIX_PATTERN = rf"{MIX}[.\d]+"
LIGHTER = 0.65  # factor by which each further variant of a method is lighter


@dataclass(frozen=True)
class MethodEntry:
    """Method or variant of a preset.

    Attributes:
        name: name in folders and rows.
        method: the method; for a variant, the method that it is a variant of.
        hyperparameters: hyperparameters of the entry; a variant inherits the missing ones from its method.
        label, color: label and colour in tables and figures.
    """

    name: str
    method: Method
    hyperparameters: Config
    label: str
    color: str

    @property
    def settings(self) -> Config:
        """Entries of a job's settings: the name, and for a variant also its method."""
        return {"method": self.name} | ({"variant_of": self.method.name} if self.name != self.method.name else {})


def method_entry(preset: Config, name: str) -> MethodEntry:
    """Return a method, variant, trial or interpolated run of a preset."""
    entries: Config = preset["hyperparameters"]
    if name != entry_name(name):
        entry, rate, fraction = method_entry(preset, entry_name(name)), name.split(TRIAL)[1:], name.split(MIX)[1:]
        changed = {"learning_rate": float(rate[0])} if rate else {}
        label = f"{entry.label}, {f'rate {rate[0]}' if rate else f'{fraction[0]} of its update'}"
        return replace(entry, name=name, hyperparameters=entry.hyperparameters | changed, label=label)
    own = entries.get(name, {})
    method = find_method(own.get("of", name))
    if name == method.name:
        return MethodEntry(name, method, own, method.label, method.color)
    parent = entries.get(method.name, {})
    own = {key: value for key, value in own.items() if key != "of"}
    differing = [f"{key.replace('_', ' ')} {value}" for key, value in own.items() if parent.get(key) != value]
    siblings = [one for one in entries if entries[one].get("of") == method.name]
    label = f"{method.label} ({', '.join(differing) or name})"
    return MethodEntry(name, method, parent | own, label, _lighter(method.color, 1 + siblings.index(name)))


def trial_name(method: str, learning_rate: float) -> str:
    """Return the name of a method's or variant's trial at a learning rate."""
    return f"{method}{TRIAL}{learning_rate:g}"


def entry_name(name: str) -> str:
    """Return the name of the method or variant that a trial or interpolated run belongs to; other names unchanged."""
    return name.partition("/")[0]


def first_learning_rates(preset: Config, method: str) -> list[float]:
    """List the rates that the search of a method begins with, in ascending order and with two significant digits.

    They are `lr_sweep.factor` apart. Of an even number of rates, one more lies below the centre than above it. The
    centre of a method that `lr_sweep.center` does not name is its own learning rate.
    """
    sweep, rate = preset["lr_sweep"], method_entry(preset, method).hyperparameters["learning_rate"]
    center, below = of_method(preset, sweep["center"], method, rate), sweep["rates"] // 2
    return [float(f"{center * sweep['factor'] ** (step - below):.2g}") for step in range(sweep["rates"])]


def frontier_points(
    method: str, learning_rate: float, trials: Sequence[Config], fractions: Sequence[float]
) -> list[str]:
    """List the runs of a method on the frontier: its own, its trials that did not diverge, and interpolated ones.

    The trial at the method's own rate is the method's run, and so is the interpolation with the fraction 1.

    Args:
        trials: of the method's search (lr_sweep.json).
    """
    rates = [trial["learning_rate"] for trial in trials if trial["val"] is not None]
    searched = [trial_name(method, rate) for rate in rates if rate != learning_rate]
    return [method, *searched, *(f"{method}{MIX}{fraction:g}" for fraction in fractions if fraction != 1)]


def _lighter(color: str, steps: int) -> str:
    """Mix a colour `#rrggbb` with white; more steps make it lighter."""
    parts = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - part) * LIGHTER**steps):02x}" for part in parts)


def variants(preset: Config) -> dict[str, MethodEntry]:
    """Return the variants that a preset defines, by name."""
    return {name: method_entry(preset, name) for name, entry in preset["hyperparameters"].items() if "of" in entry}


def is_method(preset: Config, name: str) -> bool:
    """Return whether a name is that of a method, or of a variant in the preset."""
    return name in list_methods() or "of" in preset["hyperparameters"].get(name, {})


def list_table_methods(preset: Config) -> list[str]:
    """List the rows of a preset's tables: base, the paper's methods in the paper's order, the preset's other methods.

    A method of the paper that the preset does not include still has a row, which is shown as not run.
    """
    paper_methods = [row["method"] for row, _ in read_csv(TABLE3)[1] if row.get("method") in list_methods()]
    return list(dict.fromkeys([BASE, *paper_methods, *preset["methods"]]))


def list_controls(preset: Config) -> list[str]:
    """List the methods of the table of controls: those that have what they tune in common with another read-out.

    Empty unless the preset runs two read-outs with each of two adaptations, because only then each factor can be varied
    alone. A listed method that the preset does not run is shown as not run.
    """
    if not any(len(one & other) > 1 for one, other in combinations(_read_outs(preset["methods"]).values(), 2)):
        return []
    return list_possible_controls(preset)


def list_possible_controls(preset: Config) -> list[str]:
    """List all methods that have what they tune in common with another read-out, in the order of a preset's tables."""
    read_outs = _read_outs(list_methods())
    names = [name for name in dict.fromkeys([*list_table_methods(preset), *list_methods()]) if name in list_methods()]
    return [name for name in names if len(read_outs[find_method(name).adaptation]) > 1]


def _read_outs(names: Iterable[str]) -> dict[str, set[str]]:
    """Return the read-outs of methods by what they tune; variants are left out, because they differ in more."""
    found = defaultdict[str, set[str]](set)
    for method in (find_method(name) for name in names if name in list_methods()):
        found[method.adaptation].add(method.read_out)
    return found


def list_run_seeds(method: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """List the seeds of a method's runs: all seeds for a trained method, one fixed seed for the untrained base."""
    return (BASE_SEED,) if method == BASE else tuple(seeds)


def merge_training_settings(preset: Config, backbone: Config, method: str) -> Config:
    """Merge the `training` settings of a run.

    The backbone's settings override those of the preset. The settings for the method on this backbone override both.
    """
    own = _method_overrides(preset, backbone, method, "training")
    return {**preset["training"], **backbone.get("training", {}), **own}


def merge_training_resources(preset: Config, backbone: Config, method: str) -> Config:
    """Merge the cluster resources for training a run.

    The resources for the method on this backbone override those of the preset.
    """
    return {**preset["resources"]["train"], **_method_overrides(preset, backbone, method, "resources")}


def _method_overrides(preset: Config, backbone: Config, method: str, section: str) -> Config:
    """Return a section of the backbone's settings for one method; empty if there is none."""
    overrides: Config = of_method(preset, backbone.get("runs", {}), method, {}).get(section, {})
    return overrides


def of_method(preset: Config, entries: Mapping[str, Any], method: str, default: Any) -> Any:
    """Return the entry of a method or variant in a mapping; a variant without an entry has that of its method.

    A trial or an interpolated run has the entry of the method or variant that it belongs to.
    """
    method = entry_name(method)
    return entries.get(method, entries.get(method_entry(preset, method).method.name, default))
