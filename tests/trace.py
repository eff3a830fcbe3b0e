"""Provenance of one number of Table 3: `make trace CELL="mini-internvl/slq mini-coco t2i R@5"`.

CELL is a row and a column of `table3` in paper_tables/<preset>/cells.csv. The tool reads that cell as the table does,
recomputes the number from its ranks or answers, and compares the two. It prints the files that were read, and the
modules of the package, outside `slq.common`, whose code ran.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from slq.config.job_settings import layout as build_layout
from slq.config.loading import load_merged_config
from slq.evaluation.rank_table import recalls_by_direction
from slq.results.evidence import evidence
from slq.results.layout import ReportLayout, parse_layout
from slq.results.load import Results


@contextmanager
def executed_modules(found: dict[str, None]) -> Iterator[None]:
    """Collect the modules of the package whose functions run, in the order of their first call."""

    def note(frame, event, _):
        name = frame.f_globals.get("__name__", "")
        if event == "call" and name.startswith("slq.") and not name.startswith("slq.common."):
            found.setdefault(name)

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


def only(layout: ReportLayout, backbone: str, method: str, dataset: str) -> ReportLayout:
    """Reduce a layout to the run and the dataset of one cell."""
    kinds = ("retrieval_datasets", "knowledge_datasets", "retention_datasets")
    datasets = {kind: tuple(one for one in getattr(layout, kind) if one.name == dataset) for kind in kinds}
    backbones = tuple(one for one in layout.backbones if one.name == backbone)
    return replace(layout, backbones=backbones, methods=(method,), baselines=(), **datasets)


def trace_cell(folder: Path, cell: str, layout: ReportLayout) -> tuple[list[str], list[str]]:
    """Recompute a cell; return lines with the files it was computed from, and the modules that ran."""
    row_key, _, column = cell.partition(" ")
    backbone, _, method = row_key.partition("/")
    with open(folder / "paper_tables" / layout.preset / "cells.csv", encoding="utf-8", newline="") as file:
        printed = {(one["row"], one["column"]): one for one in csv.DictReader(file) if one["table"] == "table3"}
    if (row_key, column) not in printed:
        example = " ".join(next(key for key in printed if "@" in key[1]))
        sys.exit(f"no cell '{cell}' in Table 3; expected a row and a column, such as {example}")
    dataset, *rest = column.split(" ")
    direction, metric = rest if rest else ("", "score")
    kind = "retrieval" if direction else "retention"
    modules: dict[str, None] = {}
    with executed_modules(modules):
        results = Results(folder / "results", only(layout, backbone, method, dataset))
        found = results.cell(backbone, method, kind, dataset, metric, direction)
        row = results.rows(backbone, method, kind, dataset, metric, direction)[0]
        table = evidence(row)
        number = recalls_by_direction(table)[direction][metric] if direction else 100 * table["is_correct"].mean()
    stored = float(printed[row_key, column]["value"])
    counted = row.value if direction else row.record.number("metrics", "accuracy")  # a score may be a number of hits
    if abs(number - counted) > 1e-9:
        sys.exit(f"{cell}: {counted} in {row.source}, and {number} from {table.attrs['source']}")
    assert stored == found.value
    lines = [
        f"printed   {found.text} in paper_tables/{layout.preset}/table3.tex ({found.state})",
        f"cell      {stored} in paper_tables/{layout.preset}/cells.csv",
        f"number    {row.value} under {row.key} in {row.source}",
        f"evidence  {number:.6g} from {len(table):,} {'ranks' if direction else 'answers'} in {table.attrs['source']}",
    ]
    return lines, list(modules)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cell", help="a row and a column of table3 in cells.csv")
    parser.add_argument("--config", type=Path, action="append")
    args = parser.parse_args()
    lines, modules = trace_cell(
        Path(), args.cell, parse_layout(build_layout(load_merged_config(args.config or [Path("config.yaml")])))
    )
    names = [f"          {name}" for name in modules]
    # One write, because a reader such as head may close the pipe before a second one.
    sys.stdout.write("\n".join([*lines, f"modules   {len(modules)} outside slq.common:", *names, ""]))
