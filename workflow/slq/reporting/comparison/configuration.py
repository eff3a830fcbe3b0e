"""Check of results and a configuration that go into one bundle: whether they belong together, and are up to date."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SchemaError
from slq.config.job_settings import train_settings
from slq.methods.registry import BASE
from slq.results.layout import BASELINES, find_layout
from slq.results.load import as_rows, load_files, warning_lines


def bundle_warnings(results: Path, config: Mapping[str, Any]) -> list[str]:
    """Return a line on the first run of a preset's folder that has other settings than the configuration, then others.

    The others are on stale files, on files without ranks or answers, and on the first file of another version; all are
    packed all the same. A configuration that lacks the run's backbone or method gives it no settings.

    Raises:
        SlqError: a file cannot be read
    """
    preset, methods = {**config, "preset": results.name}, config["presets"][results.name]["hyperparameters"]
    try:
        files = load_files(results, find_layout(results, {}, {}))
    except SchemaError as error:  # of another version, whose reader may have use for it
        return [f"not checkable: {error}"]
    for run in as_rows(files[(files["kind"] == "run") & (files["backbone"] != BASELINES) & files["record"].notna()]):
        known = run.backbone in config["backbones"] and run.method in (BASE, *methods)
        if not known or run.record.value("settings") != train_settings(preset, run.backbone, run.method):
            other = f"{run.method} on {run.backbone} was run with other settings"
            return [f"{other}; name all files of its configuration with --config", *warning_lines(files)]
    return warning_lines(files)
