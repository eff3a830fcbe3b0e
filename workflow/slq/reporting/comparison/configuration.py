"""Check that results and a configuration belong together, for a bundle that holds both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.config.job_settings import train_settings
from slq.methods.registry import BASE
from slq.results.layout import BASELINES, find_layout
from slq.results.load import as_rows, load_files


def find_run_of_other_settings(results: Path, config: Mapping[str, Any]) -> str:
    """Return the first run of a preset's folder that has other settings than the configuration; "" if none has.

    A configuration that lacks the run's backbone or method gives it none.
    """
    preset, methods = {**config, "preset": results.name}, config["presets"][results.name]["hyperparameters"]
    try:
        files = load_files(results, find_layout(results, {}, {}))
    except SlqError:  # a file of another version, which is packed all the same, with a warning of its own
        return ""
    for run in as_rows(files[(files["kind"] == "run") & (files["backbone"] != BASELINES) & files["record"].notna()]):
        known = run.backbone in config["backbones"] and run.method in (BASE, *methods)
        if not known or run.record.value("settings") != train_settings(preset, run.backbone, run.method):
            return f"{run.method} on {run.backbone}"
    return ""
