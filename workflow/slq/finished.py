"""A finished run, for people to use: where its adapter, backbone and results are."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.config import Config
from slq.data.snapshots import identity
from slq.errors import SlqError
from slq.files import read_json


@dataclass(frozen=True)
class Finished:
    """A run that has its adapter.

    Attributes:
        run: what run.json says of it.
        adapter: what adapter.json says.
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


def find_run(folder: Path, config: Config) -> Finished:
    """The run of a folder of results (`results/mini/mini-internvl/slq/seed1`) or of its adapter, in scratch.

    Raises:
        SlqError: the folder is neither, or its adapter, results or backbone are not there, or another backbone is.
    """
    folder = folder.resolve()
    parts = folder.parts[-4:]
    scratch = Path(config["scratch"])
    if (folder / "adapter.json").is_file():
        scratch, weights, results = folder.parents[4], folder, Path("results", *parts).resolve()
    elif (folder / "run.json").is_file():
        weights, results = scratch.joinpath("runs", *parts), folder
    else:
        raise SlqError(
            f"{folder}: no run: expected run.json or adapter.json in it, as in "
            "results/<preset>/<backbone>/<method>/seed<k>"
        )
    for path, what in ((weights / "adapter.json", "adapter"), (results / "run.json", "results")):
        if not path.is_file():
            raise SlqError(f"{path}: not found: {'/'.join(parts)} has no {what} here; run it again, or copy them here")
    run, adapter = read_json(results / "run.json"), read_json(weights / "adapter.json")
    snapshot = scratch / "backbones" / run["backbone"]
    if identity(snapshot) != adapter["backbone_sha256"]:
        raise SlqError(f"{snapshot}: not the backbone that {'/'.join(parts)} was trained on; fetch or make that one")
    return Finished(run, adapter, results, weights, snapshot)
