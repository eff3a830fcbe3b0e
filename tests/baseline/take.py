"""Keep the mini preset's tables as the ones to expect: `python tests/baseline/take.py` after `make reproduce`."""

import csv
from pathlib import Path

KEY = ("table", "row", "column")
TIMES = ("hours", "share", "total")  # of this machine, and of its load
# Points a number may move: what is counted not at all, what base answers and SLQ finds little, what fine-tuning does to
# answers more, as small differences grow in training.
EXACT, LITTLE, MUCH = 0.0, 10.0, 30.0


def numbers(root: Path) -> list[dict[str, str]]:
    """The measured numbers of the tables, without times."""
    with open(root / "paper_tables" / "mini" / "cells.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    return [cell for cell in cells if cell["state"] == "measured" and cell["table"] != "gpu_hours" and not timed(cell)]


def timed(cell: dict[str, str]) -> bool:
    """Whether a cell of Table 3 is its cost in hours."""
    return cell["column"] == "hours"


def tolerance(cell: dict[str, str]) -> float:
    """By what is measured, and on which method."""
    if cell["column"] in ("parameters", "dim"):
        return EXACT
    tuned = cell["row"].endswith(("/full_ft", "/lora"))
    return MUCH if tuned else LITTLE


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
