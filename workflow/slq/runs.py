"""The runs of a preset: what a method's training on a backbone is told, and what it may not be told."""

from typing import Any

from slq.errors import SlqError

Config = dict[str, Any]

STORED = ("vision", "kv")  # of `training.prefix`: what a job before the run keeps


def training_of(preset: Config, backbone: Config, method: str) -> Config:
    """`training` of a run: the backbone's own wins over the preset's, the method's on it over both."""
    return {**preset["training"], **backbone.get("training", {}), **_own(backbone, method, "training")}


def resources_of(preset: Config, backbone: Config, method: str) -> Config:
    """What the training of a run asks a cluster for: the preset's, and what differs for the method on the backbone."""
    return {**preset["resources"]["train"], **_own(backbone, method, "resources")}


def _own(backbone: Config, method: str, part: str) -> Config:
    own: Config = backbone.get("runs", {}).get(method, {}).get(part, {})
    return own


def check_prefixes(key: str, preset: Config, backbones: Config) -> None:
    """What is kept of a whole prefix is constant only where nothing in front of the queries is trained.

    Raises:
        SlqError: another method's run is told to keep it, or a run to keep what an epoch does not show again.
    """
    for name in preset["backbones"]:
        for method in [method for method in preset["methods"] if method != "base"]:
            training = training_of(preset, backbones[name], method)
            where = f"config: {key}: training.prefix is '{training['prefix']}' for {method} on {name}"
            if training["prefix"] in ("resident", "kv") and method != "slq":
                raise SlqError(
                    f"{where}, which trains what is in it; expected recompute or vision "
                    f"(for slq alone: backbones.{name}.runs.slq.training.prefix)"
                )
            if training["prefix"] == "resident" and training["captions_per_image_per_epoch"] == "one":
                raise SlqError(f"{where}; with captions_per_image_per_epoch one, an epoch shows no image again")


def check_stops(key: str, preset: Config, backbones: Config) -> None:
    """A training stops while its allocation still has some minutes, so that it must be longer than these.

    Raises:
        SlqError: it is not.
    """
    for name in preset["backbones"]:
        for method in [method for method in preset["methods"] if method != "base"]:
            hours = resources_of(preset, backbones[name], method)["hours"]
            margin = training_of(preset, backbones[name], method)["stop_minutes"]
            if 60 * hours <= margin:
                raise SlqError(
                    f"config: {key}: resources.train.hours is {hours:.3g}, {60 * hours:.3g} minutes, for {method} on "
                    f"{name}, and training.stop_minutes, {margin:g}, stay free at its end: that leaves no time for a "
                    "step; ask for more hours, or lower stop_minutes"
                )
