"""Training curves: the loss over steps, and the recalls on the val split over epochs."""

from pathlib import Path

from slq.evaluation.rank_table import RANK_DIRECTIONS
from slq.results.record import read_jsonl_records

CurvePoint = tuple[str, float, float, str]  # direction, or empty for the loss; step or epoch; value; source


def training_curves(folder: Path, backbone: str, method: str, seed: int) -> list[CurvePoint]:
    """Read the loss and the R@5 of both directions of a run from its events; no points if it has taken no step.

    If several attempts recorded the same step or epoch, the last record is used, because it led to the final weights.

    Args:
        folder: the preset's folder
    """
    curves: dict[str, dict[float, CurvePoint]] = {part: {} for part in ("", *RANK_DIRECTIONS[:2])}
    path = folder / backbone / method / f"seed{seed}" / "events/train.jsonl"
    for event in read_jsonl_records(path, folder.parent) if path.exists() else ():
        if event.text("event") == "step":
            step = event.number("step")
            curves[""][step] = ("", step, event.number("loss"), event.source)
        elif event.text("event") == "val":
            epoch = event.number("epoch") + 1
            for direction in RANK_DIRECTIONS[:2]:
                value = event.number("recalls", direction, "R@5")
                curves[direction][epoch] = (direction, epoch, value, event.source)
    return [point for curve in curves.values() for point in curve.values()]
