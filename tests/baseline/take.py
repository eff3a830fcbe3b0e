"""Recording of the expected tables of the mini preset: `python tests/baseline/take.py` after `make reproduce`."""

import csv
from pathlib import Path

KEY = ("table", "row", "column")
TABLES = ("table1", "table3", "retention")
# Points that a number may differ by on another processor:
# - EXACT: counts, which differ only by rounding
# - LITTLE: recalls of base and SLQ
# - MUCH: recalls after fine-tuning, recalls in another drawing style, and answers of base, some of which are learned
#   in a sudden step
# - WIDE: answers after fine-tuning, and the type Positions
EXACT, LITTLE, MUCH, WIDE = 0.001, 10.0, 30.0, 80.0
HITS = 1.8  # OCRBench counts hits of 180 questions: hits per percentage point


def numbers(root: Path) -> list[dict[str, str]]:
    """Read the measured numbers of the tables, without times and without numbers derived from other tables."""
    with open(root / "paper_tables" / "mini" / "cells.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    kept = [cell for cell in cells if cell["table"] in TABLES and cell["column"] != "hours"]
    return [cell for cell in kept if cell["state"] == "measured"]


def tolerance(cell: dict[str, str]) -> float:
    """Return the tolerance of a cell, which depends on the quantity and the method."""
    row, column = cell["row"], cell["column"]
    if column in ("parameters", "dim", "n", "chance"):
        return EXACT
    tuned = row.endswith(("/full_ft", "/lora")) or column in ("full_ft", "lora")
    if "R@" in column:
        return MUCH if tuned or "flickr30k" in column else LITTLE
    points = WIDE if tuned or row.endswith("/Positions") else MUCH
    return points * HITS if (cell["table"], column) == ("table3", "mini-ocrbench") else points


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
