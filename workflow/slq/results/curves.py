"""Curves of a training: its loss over steps, and its recalls on the val split over epochs."""

from pathlib import Path

from slq.evaluation.rank_table import RANK_DIRECTIONS
from slq.results.record import read_jsonl_records

CurvePoint = tuple[str, float, float, str]  # direction, or empty for the loss; step or epoch; value; source


def training_curves(folder: Path, backbone: str, method: str, seed: int) -> list[CurvePoint]:
    """Read the loss and R@5 of both directions of a run from its events; without any step there are no points.

    If several attempts made a step or an epoch, the last one counts, as the final weights come from it.

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
