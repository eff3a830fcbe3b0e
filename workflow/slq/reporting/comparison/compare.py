"""Comparison of two sources: a verdict on every cell, and differences in provenance that may explain the verdicts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from slq.common.errors import SlqError
from slq.reporting.comparison.bundles import PAPER, has_runs, open_source
from slq.reporting.comparison.metric_values import METRICS, CellKey, ComparisonSettings, MetricValue, MetricValues
from slq.reporting.comparison.paper_metrics import load_paper_metric_values
from slq.reporting.comparison.provenance import ProvenanceDiff, ProvenanceFields, collect_provenance, compare_provenance
from slq.reporting.comparison.stored_metrics import StoredResults
from slq.reporting.comparison.verdicts import CellJudgement, CellVerdict, judge_cells
from slq.results.layout import BASELINES

SCHEMA = 2
CELL_VERDICTS: tuple[CellVerdict, ...] = get_args(CellVerdict)


@dataclass(frozen=True)
class ComparisonSide:
    """One side of a comparison, as loaded.

    Attributes:
        preset: the preset of its runs; "" for the paper, which has neither runs nor provenance
        notices: warnings about files whose numbers do not match their ranks or answers, or cannot be checked
    """

    name: str
    source_kind: str
    description: str
    preset: str = ""
    metric_values: MetricValues = field(default_factory=dict)
    provenance: ProvenanceFields = field(default_factory=dict)
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ComparedCell:
    """A cell with the numbers of both sides, of which one may be absent, and the judgement on them."""

    key: CellKey
    a: MetricValue | None
    b: MetricValue | None
    judgement: CellJudgement

    @property
    def a_or_b(self) -> MetricValue:
        """The number of A, or of B if A has none; it determines the format of both numbers."""
        number = self.a or self.b
        if number is None:
            raise ValueError(f"{self.key}: a cell has at least one number")
        return number


@dataclass(frozen=True)
class Comparison:
    """A comparison of A with B; the cells are in the order of the configuration."""

    a: ComparisonSide
    b: ComparisonSide
    cells: tuple[ComparedCell, ...]
    provenance_differences: tuple[ProvenanceDiff, ...]
    labels: Mapping[str, str]

    @property
    def verdict_counts(self) -> dict[CellVerdict, int]:
        """The number of cells with each verdict."""
        found = Counter(cell.judgement.verdict for cell in self.cells)
        return {verdict: found[verdict] for verdict in CELL_VERDICTS}


def compare_results(
    source_a: str, source_b: str, settings: ComparisonSettings, reference: Path, preset: str, seeds: Sequence[int] = ()
) -> Comparison:
    """Compare two sources, each given as in `slq.reporting.comparison.bundles.open_source`, or as `paper`.

    Args:
        reference: the folder of the paper's values
        preset: the preset of a folder that may have no run yet; its side then has no numbers. Empty to refuse such a
            folder
        seeds: one seed for both sides, or one for A and one for B; empty to use all seeds
    """
    if len(seeds) > (1 if PAPER in (source_a, source_b) else 2):
        raise SlqError(
            f"--seeds {' '.join(map(str, seeds))}: expected one seed for A and one for B, and none for {PAPER}"
        )
    pair: Sequence[int | None] = [*seeds, *seeds] or [None, None]
    chosen = [(source_a, pair[0]), (source_b, pair[1])]
    sides = {one: _load_side(*one, settings, preset) for one in dict.fromkeys(chosen) if one[0] != PAPER}
    if PAPER in (source_a, source_b):
        other_values: MetricValues = next((side.metric_values for side in sides.values()), {})
        values = load_paper_metric_values(reference, settings, other_values)
        paper = ComparisonSide(PAPER, "paper", "the paper's Tables 1 and 3", metric_values=values)
        sides |= {one: paper for one in chosen if one[0] == PAPER}
    a, b = (sides[one] for one in chosen)
    differences = compare_provenance(a.provenance, b.provenance) if a.provenance and b.provenance else []
    return Comparison(a, b, _compare_cells(a, b, settings), tuple(differences), settings.labels)


def _load_side(name: str, seed: int | None, settings: ComparisonSettings, preset: str) -> ComparisonSide:
    """Load a side: the runs of one seed, or all runs; with a preset, a folder without runs is an empty side."""
    if preset and not has_runs(Path(name)):
        return ComparisonSide(name, "folder", f"preset {preset}, no runs", preset)
    with open_source(name) as (kind, folder, display_name):
        stored = StoredResults(folder, display_name, settings, seed)
        what, values = _describe_runs(name, stored), stored.metric_values()
        return ComparisonSide(name, kind, *what, values, collect_provenance(stored.files), tuple(stored.notices()))


def _describe_runs(name: str, stored: StoredResults) -> tuple[str, str]:
    """Return a description with the numbers of runs and baselines, and the preset, of which there must be only one."""
    of_runs = stored.files[stored.files["kind"] == "run"]
    runs = of_runs[of_runs["backbone"] != BASELINES]
    presets = sorted({record.text("preset") for record in runs["record"]})
    if len(presets) > 1:
        raise SlqError(f"{name}: contains runs of several presets ({', '.join(presets)}); use one folder per preset")
    seeds = f", {stored.layout.which_seeds}" if stored.layout.seeds else ""
    count = len(stored.layout.baselines)
    baselines = f", {count} baseline{'s' * (count > 1)}" if count else ""
    return f"preset {presets[0]}, {len(runs)} run{'s' * (len(runs) > 1)}{seeds}{baselines}", presets[0]


def _compare_cells(a: ComparisonSide, b: ComparisonSide, settings: ComparisonSettings) -> tuple[ComparedCell, ...]:
    """Judge the cells that both sides have, mark the other cells as missing, extra or stale, and sort all cells."""
    shared = {key: (a.metric_values[key], b.metric_values[key]) for key in a.metric_values if key in b.metric_values}
    judgements = judge_cells(shared, settings, a.preset or b.preset)
    one_sided: tuple[tuple[ComparisonSide, ComparisonSide, CellVerdict, str], ...] = (
        (b, a, "missing", "A"),
        (a, b, "extra", "B"),
    )
    for present, lacking, verdict, lacking_label in one_sided:
        for key in present.metric_values.keys() - lacking.metric_values.keys():
            if stale := present.metric_values[key].stale_reason:
                judgements[key] = CellJudgement(0.0, 0.0, "stale", stale)
            else:
                judgements[key] = CellJudgement(0.0, 0.0, verdict, _explain_absence(key, lacking_label, lacking))
    keys = sorted(judgements, key=lambda key: (*settings.sort_key(*key[:3]), METRICS.index(key.metric)))
    return tuple(ComparedCell(key, a.metric_values.get(key), b.metric_values.get(key), judgements[key]) for key in keys)


def _explain_absence(key: CellKey, lacking_label: str, lacking: ComparisonSide) -> str:
    """Explain why one side has no number for a cell."""
    if lacking.source_kind == "paper":
        return "the paper has no such number"
    if any(key[:2] == other[:2] for other in lacking.metric_values):
        return f"not in {lacking_label}"
    return f"{lacking_label} has no such {'baseline' if key.backbone == BASELINES else 'run'}"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Convert a comparison to the format of `results/<preset>/compare/paper.json` (docs/compare.md)."""
    sides = {"a": comparison.a, "b": comparison.b}
    return {
        "schema": SCHEMA,
        "preset": comparison.a.preset or comparison.b.preset,
        **{key: {"name": one.name, "kind": one.source_kind, "what": one.description} for key, one in sides.items()},
        "cells": [_cell_as_json(cell) for cell in comparison.cells],
        "differences": [difference._asdict() for difference in comparison.provenance_differences],
        "counts": comparison.verdict_counts,
    }


def _cell_as_json(cell: ComparedCell) -> dict[str, Any]:
    has_both, judgement = cell.a is not None and cell.b is not None, cell.judgement
    return {
        **cell.key._asdict(),
        "a": cell.a.value if cell.a else None,
        "b": cell.b.value if cell.b else None,
        "delta": judgement.delta if has_both else None,
        "tolerance": judgement.tolerance if has_both else None,
        "interval": list(judgement.interval) if judgement.interval else None,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "files": [file for number in (cell.a, cell.b) if number for file in number.files],
    }
