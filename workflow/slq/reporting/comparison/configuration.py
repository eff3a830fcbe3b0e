"""Check that the results and the configuration of a bundle belong together and are up to date."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SchemaError
from slq.config.job_settings import train_settings
from slq.methods.registry import BASE
from slq.results.layout import BASELINES, find_layout
from slq.results.load import as_rows, load_files, warning_lines


def bundle_warnings(results: Path, config: Mapping[str, Any]) -> list[str]:
    """Return warnings about a preset's folder; files with a warning are packed nevertheless.

    There is a warning for the first run whose settings differ from the configuration, for each stale file, and for each
    reason why files cannot be checked. A run's settings also differ if the configuration lacks its backbone or method.
    If a file was written by another version of the format, the only warning is about the first such file.
    """
    preset, methods = {**config, "preset": results.name}, config["presets"][results.name]["hyperparameters"]
    try:
        files = load_files(results, find_layout(results, {}, {}))
    except SchemaError as error:  # a reader with the other version may still use the bundle
        return [f"cannot be checked: {error}"]
    for run in as_rows(files[(files["kind"] == "run") & (files["backbone"] != BASELINES) & files["record"].notna()]):
        known = run.backbone in config["backbones"] and run.method in (BASE, *methods)
        if not known or run.record.value("settings") != train_settings(preset, run.backbone, run.method):
            other = f"the settings of {run.method} on {run.backbone} differ from the configuration"
            return [f"{other}; give all of its configuration files with --config", *warning_lines(files)]
    return warning_lines(files)
