"""Reference check: recalls of public dual encoders, measured with our data and ranking, against published values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import write_json
from slq.common.snapshots import snapshot_sha256
from slq.datasets.splits import Split, read_split
from slq.evaluation.encode import embed_split_with_encoder
from slq.evaluation.ranks import compute_bidirectional_recalls
from slq.evaluation.reference_recalls import read_reference_recalls
from slq.models.backbone import pick_device
from slq.models.dual_encoder import DualEncoder

SCHEMA = 2


def check_reference_recalls(
    settings: dict[str, Any], encoders_folder: Path, data: Path, reference_file: Path, out: Path
) -> None:
    """Measure public models' recalls on the retrieval datasets' test splits and compare them with published values.

    Nothing is written if a recall deviates by more than its tolerance, or if nothing can be compared.

    Args:
        settings: `encoders`, names of the models; `datasets`, each with its name and its `paper_column`, the column of
            the paper that it corresponds to (or None); `batch_size`.
        encoders_folder: folder of the encoders' snapshots.
        reference_file: table of published recalls. A dataset for which a model has no published value is not encoded,
            but listed in the result as unchecked.
    """
    checks, unchecked, inputs = [], [], {}
    for name in settings["encoders"]:
        references = read_reference_recalls(reference_file, name)
        encoder = DualEncoder.load(encoders_folder / name, pick_device())
        inputs[name] = snapshot_sha256(encoders_folder / name)
        for entry in settings["datasets"]:
            dataset_references = [value for value in references if value["dataset"] == entry["paper_column"]]
            if not dataset_references:
                which = entry["paper_column"] or "it, as it stands for no dataset of the paper"
                unchecked.append(f"{name} on {entry['name']}: no published value on {which}")
                continue
            split = read_split(data, entry["name"], "test")
            recalls = compute_split_recalls(encoder, split, settings["batch_size"])
            inputs[split.name] = split.sha256
            checks += [
                build_check_record(value, recalls[value["direction"]][value["metric"]], split)
                for value in dataset_references
            ]
    if not checks:
        raise SlqError(f"{reference_file}: no value for any of the preset's datasets; a reference check needs one")
    require_within_tolerance(checks)
    write_json(out, {"schema": SCHEMA, "checks": checks, "unchecked": unchecked, "inputs": inputs})


def compute_split_recalls(encoder: DualEncoder, split: Split, batch_size: int) -> dict[str, dict[str, float]]:
    """Compute the recalls of both directions on a split, in percent."""
    return compute_bidirectional_recalls(*embed_split_with_encoder(encoder, split, batch_size), split.caption_to_image)


def build_check_record(reference: dict[str, Any], recall: float, split: Split) -> dict[str, Any]:
    """Build the record of one check: the published value, the measured one, and the numbers of images and captions."""
    num_captions = sum(len(item["captions"]) for item in split.items)
    return reference | {
        "measured": recall,
        "measured_on": split.name,
        "n": {"images": len(split.items), "captions": num_captions},
    }


def require_within_tolerance(checks: Sequence[dict[str, Any]]) -> None:
    """Check that no recall deviates from its published value by more than the tolerance; the error lists all cases."""
    deviations = [check for check in checks if abs(check["measured"] - check["value"]) > check["tolerance"]]
    if deviations:
        listed = "; ".join(
            f"{check['model']} on {check['measured_on']} ({check['n']['images']} images, {check['n']['captions']} "
            f"captions), {check['direction']} {check['metric']}: expected {check['value']:g} ± {check['tolerance']:g} "
            f"({check['source']}), found {check['measured']:.2f}"
            for check in deviations
        )
        raise SlqError(
            f"reference check: {listed}. The data or the evaluation is wrong: check the dataset's counts, the "
            "assignment of captions to images, the images themselves, and slq/evaluation/ranks.py; training does not "
            "start before the reference check passes"
        )
