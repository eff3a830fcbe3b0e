"""Keep the mini preset's tables as the ones to expect: `python tests/baseline/take.py` after `make reproduce`."""

import csv
from pathlib import Path

KEY = ("table", "row", "column")
TABLES = ("table1", "table3", "retention")
# Points a number may move: what is counted none, but for rounding; what base and SLQ find little; what fine-tuning
# does, and what a backbone answers, more: small differences grow in training, and some answers come with a sudden step.
EXACT, LITTLE, MUCH = 0.001, 10.0, 30.0


def numbers(root: Path) -> list[dict[str, str]]:
    """The measured numbers of the tables, without times and without what other tables' numbers decide."""
    with open(root / "paper_tables" / "mini" / "cells.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    kept = [cell for cell in cells if cell["table"] in TABLES and cell["column"] != "hours"]
    return [cell for cell in kept if cell["state"] == "measured"]


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
