"""A trained run, for people to use: where its adapter, backbone and results are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.common.snapshots import identity
from slq.config.loading import Config


@dataclass(frozen=True)
class TrainedRun:
    """A run that has its adapter.

    Attributes:
        run: content of run.json.
        adapter: content of adapter.json.
        results: the folder of run.json.
        weights: the folder of adapter.json.
        snapshot: the folder of its backbone.
    """

    run: dict[str, Any]
    adapter: dict[str, Any]
    results: Path
    weights: Path
    snapshot: Path

    @property
    def preset(self) -> Path:
        """The folder of its preset's results."""
        return self.results.parents[2]

    @property
    def name(self) -> str:
        """`<preset>/<backbone>/<method>/seed<k>`"""
        return "/".join(self.results.parts[-4:])

    @property
    def settings(self) -> dict[str, Any]:
        """As it was trained with: family, dtype, prompt and the others."""
        settings: dict[str, Any] = self.run["settings"]
        return settings


def find_run(folder: Path, config: Config) -> TrainedRun:
    """Find the run of a folder of results, `results/mini/mini-internvl/slq/seed1`.

    Raises:
        SlqError: the folder is none, or its adapter or backbone is not there, or another backbone is.
    """
    results = folder.resolve()
    name, scratch = "/".join(results.parts[-4:]), Path(config["scratch"])
    weights = scratch / "runs" / name
    if not (results / "run.json").is_file():
        raise SlqError(f"{folder}: no run: expected run.json in it, as in results/<preset>/<backbone>/<method>/seed<k>")
    if not (weights / "adapter.json").is_file():
        raise SlqError(f"{weights}/adapter.json: not found: {name} has no adapter here; run it again, or copy it here")
    run, adapter = read_json(results / "run.json"), read_json(weights / "adapter.json")
    snapshot = scratch / "backbones" / run["backbone"]
    if identity(snapshot) != adapter["backbone_sha256"]:
        raise SlqError(f"{snapshot}: not the backbone that {name} was trained on; fetch or make that one")
    return TrainedRun(run, adapter, results, weights, snapshot)
