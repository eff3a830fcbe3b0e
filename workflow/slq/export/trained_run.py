"""Trained run with the paths of its adapter, backbone and results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.common.schema import require_schema, require_type
from slq.common.snapshots import snapshot_sha256
from slq.config.loading import Config
from slq.methods.adapter import SCHEMA as ADAPTER_SCHEMA
from slq.results.record import SCHEMA as RUN_SCHEMA


@dataclass(frozen=True)
class TrainedRun:
    """Run whose adapter exists.

    Attributes:
        run_record: content of run.json.
        adapter_record: content of adapter.json.
        results_folder: folder of run.json.
        adapter_folder: folder of adapter.json.
        snapshot: folder of the backbone.
    """

    run_record: dict[str, Any]
    adapter_record: dict[str, Any]
    results_folder: Path
    adapter_folder: Path
    snapshot: Path

    @property
    def preset_folder(self) -> Path:
        """Folder with all results of the run's preset."""
        return self.results_folder.parents[2]

    @property
    def name(self) -> str:
        """Name of the run, `<preset>/<backbone>/<method>/seed<k>`."""
        return "/".join(self.results_folder.parts[-4:])

    @property
    def settings(self) -> dict[str, Any]:
        """Training settings, such as family, dtype and prompt."""
        settings: dict[str, Any] = self.run_record["settings"]
        return settings


def find_run(folder: Path, config: Config) -> TrainedRun:
    """Find the run of a results folder such as `results/mini/mini-internvl/slq/seed1`.

    Raises:
        SlqError: the folder has no run.json, the run's adapter or backbone does not exist, or the backbone is not the
            one that the run was trained on.
    """
    results_folder = folder.resolve()
    name, scratch = "/".join(results_folder.parts[-4:]), Path(config["scratch"])
    adapter_folder = scratch / "runs" / name
    if not (results_folder / "run.json").is_file():
        raise SlqError(
            f"{folder}: not a run's folder: expected run.json in it, as in results/<preset>/<backbone>/<method>/seed<k>"
        )
    if not (adapter_folder / "adapter.json").is_file():
        raise SlqError(
            f"{adapter_folder}/adapter.json: not found: the adapter of {name} is missing; run the job again, or copy "
            "the adapter's folder there"
        )
    run_record, adapter_record = read_json(results_folder / "run.json"), read_json(adapter_folder / "adapter.json")
    require_schema(results_folder / "run.json", run_record, RUN_SCHEMA, "run it again")
    require_schema(adapter_folder / "adapter.json", adapter_record, ADAPTER_SCHEMA, "run it again")
    for key, type_ in {"backbone": str, "settings": dict}.items():
        require_type(f"{results_folder}/run.json", run_record, key, type_)
    for key, type_ in {"family": str, "dtype": str, "prompt": dict}.items():
        require_type(f"{results_folder}/run.json: settings", run_record["settings"], key, type_)
    for key, type_ in {"backbone_sha256": str, "method": str, "hyperparameters": dict}.items():
        require_type(f"{adapter_folder}/adapter.json", adapter_record, key, type_)
    snapshot = scratch / "backbones" / run_record["backbone"]
    if snapshot_sha256(snapshot) != adapter_record["backbone_sha256"]:
        raise SlqError(f"{snapshot}: not the backbone that {name} was trained on; fetch or make that backbone")
    return TrainedRun(run_record, adapter_record, results_folder, adapter_folder, snapshot)
