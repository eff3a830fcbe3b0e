"""Keep the mini preset's tables as the ones to expect: `python tests/baseline/take.py` after `make reproduce`."""

import csv
from pathlib import Path

KEY = ("table", "row", "column")
# Points a number may move: what is counted none, but for rounding; what base and SLQ find little; what fine-tuning
# does, and what a backbone answers, more: small differences grow in training, and some answers come with a sudden step.
EXACT, LITTLE, MUCH = 0.001, 10.0, 30.0


def numbers(root: Path) -> list[dict[str, str]]:
    """The measured numbers of the tables, without times."""
    with open(root / "paper_tables" / "mini" / "cells.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    timed = [cell["table"] == "gpu_hours" or cell["column"] == "hours" for cell in cells]
    return [cell for cell, is_time in zip(cells, timed, strict=True) if cell["state"] == "measured" and not is_time]


def tolerance(cell: dict[str, str]) -> float:
    """By what is measured, and on which method."""
    if cell["column"] in ("parameters", "dim", "n", "chance"):
        return EXACT
    tuned = cell["row"].endswith(("/full_ft", "/lora"))
    return LITTLE if "R@" in cell["column"] and not tuned else MUCH


def main() -> None:
    """Write mini.csv beside this file."""
    root = Path(__file__).parents[2]
    with open(Path(__file__).with_name("mini.csv"), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*KEY, "value", "tolerance"])
        for cell in numbers(root):
            writer.writerow([*(cell[key] for key in KEY), round(float(cell["value"]), 4), tolerance(cell)])


if __name__ == "__main__":
    main()
