"""Comparison of the mini preset's tables with the expected tables in tests/baseline/.

Processors round differently, and training amplifies the difference, so each number has its own tolerance in its own
unit. For an intended change, run `python tests/baseline/take.py` after `make reproduce`, and give the reason in
docs/log.md.
"""

import csv
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASELINE = ROOT / "tests" / "baseline"
sys.path.insert(0, str(BASELINE))

from take import KEY, numbers  # noqa: E402


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_show_the_numbers_that_are_kept():
    kept = {tuple(row[key] for key in KEY): row for row in read(BASELINE / "mini.csv")}
    found = {tuple(cell[key] for key in KEY): float(cell["value"]) for cell in numbers(ROOT)}
    assert kept.keys() == found.keys(), f"only in one of them: {sorted(kept.keys() ^ found.keys())}"
    off = {
        key: (found[key], f"expected {row['value']} +- {row['tolerance']}")
        for key, row in kept.items()
        if not abs(found[key] - float(row["value"])) <= float(row["tolerance"])
    }
    assert not off, off


def test_a_number_that_moved_would_be_seen():
    """No tolerance is so wide that one method could pass for another with a much different recall."""
    rows = read(BASELINE / "mini.csv")
    recalls = {row["row"]: row for row in rows if row["table"] == "table3" and row["column"] == "mini-coco t2i R@5"}
    for backbone in ("mini-internvl", "mini-qwen3vl"):
        base, slq = (recalls[f"{backbone}/{method}"] for method in ("base", "slq"))
        assert float(base["value"]) + float(base["tolerance"]) < float(slq["value"]) - float(slq["tolerance"])
