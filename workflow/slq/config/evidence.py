"""Conditions of `snakemake evidence`: enough seeds for a verdict, and every control."""

from typing import Any

from slq.common.errors import SlqError
from slq.config.loading import active_preset, seeds
from slq.config.runs import MIN_SEEDS, list_possible_controls

Config = dict[str, Any]


def require_evidence(config: Config) -> None:
    """Check that the active preset has at least MIN_SEEDS seeds and all controls.

    Raises:
        SlqError: it lacks either; the message names the presets that have both.
    """
    name, count, missing = config["preset"], len(seeds(config)), _missing_controls(active_preset(config))
    if count >= MIN_SEEDS and not missing:
        return
    lacks = [f"{count} seed{'s' * (count > 1)}"] if count < MIN_SEEDS else []
    lacks += [f"no {' and no '.join(missing)} among its methods"] if missing else []
    presets = config["presets"].items()
    others = [
        one for one, preset in presets if len(preset.get("seeds", [])) >= MIN_SEEDS and not _missing_controls(preset)
    ]
    named = f"use a preset that has them, such as --config preset={others[0]}, or " if others else ""
    raise SlqError(
        f"evidence: preset {name} has {' and '.join(lacks)}; expected at least {MIN_SEEDS} seeds and every control, so "
        f"that methods are told apart by one factor: {named}add to presets.{name} what is missing (docs/methods.md)"
    )


def _missing_controls(preset: Config) -> list[str]:
    """List the controls that a preset does not run."""
    return [name for name in list_possible_controls(preset) if name not in preset["methods"]]
