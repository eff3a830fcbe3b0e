"""Table 1 extended: the paper's systems, and our zero-shot, trained and re-ranked systems with 95 % intervals."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from slq.common.files import read_csv_rows
from slq.config.baselines import Baseline
from slq.methods.registry import BASE
from slq.reporting.interval_tables import MEAN_AND_INTERVAL, interval_seeds_note, recall_cell
from slq.reporting.notes import (
    UNTRAINED_NOTE,
    describe_training_data,
    trained_on_test_note,
)
from slq.reporting.recalls import RecallColumns
from slq.reporting.table_model import RowGroup, Table, TableRow, mark_groups
from slq.results.cells import EMPTY_STATES
from slq.results.layout import BASELINES
from slq.results.load import Results
from slq.results.paper import OTHER_PAPERS, Paper

SYSTEMS_FILE = "systems.csv"
SYSTEMS_COLUMNS = ["model", "trained_on", "test_seen", "remark", "evidence", "source"]
NOT_STATED = "not stated"
INTERVALS_NOTE = (
    "Small print: 95 % confidence intervals, from a cluster bootstrap over images, each with all its captions."
)
RERANKING_NOTE = "Re-ranking reorders only the first k items of a list, so its R@1 is at most the R@k of that list."
OTHER_COMPARATORS_LABEL = "Other comparators"
# Groups of baselines that also have other rows: the untouched backbones, and the re-ranked lists of other papers.
ZERO_SHOT_GROUP = "Zero-shot"
RERANKED_GROUP = "Re-ranked"

Facts = dict[str, dict[str, str]]  # row of `systems.csv` by quoted model


def read_system_facts(reference_folder: Path) -> Facts:
    """Read the facts about quoted systems; empty if the reference folder has no such file."""
    path = reference_folder / SYSTEMS_FILE
    rows = read_csv_rows(path, SYSTEMS_COLUMNS) if path.exists() else []
    return {row["model"]: row for row, _ in rows}


def extended_table(results: Results, paper: Paper, facts: Facts) -> Table:
    """Build Table 1 extended: every row of Table 1, and further systems that are not in the paper."""
    columns = RecallColumns(results, paper)
    rows = {ZERO_SHOT_GROUP: _untrained_rows(columns), "Trained": _trained_rows(columns)}
    rows |= {RERANKED_GROUP: _reranked_rows(columns, facts)}
    for label in dict.fromkeys(one.group for one in results.layout.baselines if one.group not in ("", *rows)):
        rows[label] = (_baseline_row(columns, one) for one in results.layout.baselines if one.group == label)
    groups = [*_published_groups(columns, facts), *(RowGroup(label, label, tuple(own)) for label, own in rows.items())]
    return Table(
        name="table1_extended",
        number="1 extended",
        caption=f"Retrieval on {columns.dataset_labels}, R@K in percent: the paper's systems with our measurements, "
        "untrained read-outs, tuned backbones, and re-ranked lists.",
        stubs=("Model",),
        columns=columns.table_columns(BASELINES),
        groups=mark_groups(groups),
        notes=(
            INTERVALS_NOTE,
            *interval_seeds_note(results.layout),
            *columns.notes(),
            RERANKING_NOTE,
            *trained_on_test_note(results),
        ),
        widths=(6.0, 1.33),
        stacked=True,
        several_seeds=MEAN_AND_INTERVAL,
    )


def _published_groups(columns: RecallColumns, facts: Facts) -> list[RowGroup]:
    """Build the paper's groups, with our measurement below each quoted row, then a group of other comparators."""
    groups, remaining = [], [one for one in columns.results.layout.baselines if not one.group]
    for label, models in columns.paper.models_by_group("table1").items():
        rows: list[TableRow] = []
        for model in models:
            matching = [row for row in remaining if row.paper_row == model]
            remaining = [row for row in remaining if row not in matching]
            rows.append(_quoted_row(columns, facts, "table1", model))
            rows += [_baseline_row(columns, row, ", here") for row in matching]
        groups.append(RowGroup(label, label, tuple(rows)))
    others = tuple(_baseline_row(columns, row) for row in remaining)
    return [*groups, RowGroup(OTHER_COMPARATORS_LABEL, OTHER_COMPARATORS_LABEL, others)]


def _quoted_row(columns: RecallColumns, facts: Facts, table: str, model: str) -> TableRow:
    """Build a quoted row, whose footnote gives its source, its training data, and whether it saw test images.

    The evidence and source in parentheses refer to these facts about the system, not to its recalls.
    """
    number = columns.paper.numbers[lambda numbers: (numbers["table"] == table) & (numbers["row"] == model)].iloc[-1]
    known = dict.fromkeys(SYSTEMS_COLUMNS, "") | facts.get(model, {})
    source = f" ({known['source']}; evidence: {known['evidence']})" if known["evidence"] else ""
    training = f"Trained on: {known['trained_on'] or NOT_STATED}. Test images seen: {known['test_seen'] or NOT_STATED}"
    quoted = f"Quoted from {number['source'].rpartition(':')[0]} ({number['cited']})"
    note = f"{quoted}. {training}{source}. {known['remark']}".rstrip()
    return TableRow(model, model, columns.quoted_cells(table, model), note)


def _baseline_row(columns: RecallColumns, baseline: Baseline, label_suffix: str = "") -> TableRow:
    """Build the row of a baseline.

    Args:
        label_suffix: end of the label, which distinguishes our row from the paper's row with the same label
    """
    note = _stated_training_note(baseline)
    if baseline.group == ZERO_SHOT_GROUP:
        note = UNTRAINED_NOTE
    elif baseline.first_stage:
        note = _reranked_training_note(columns.results, baseline)
    return _measured_row(columns, BASELINES, baseline.name, baseline.label + label_suffix, note)


def _stated_training_note(baseline: Baseline) -> str:
    return f"Trained on: {baseline.trained_on or NOT_STATED}. Test images seen: not stated beyond that."


def _untrained_rows(columns: RecallColumns) -> Iterator[TableRow]:
    """Build the rows of each backbone's last-token embedding, which is base, and of its other read-outs."""
    layout = columns.results.layout
    for backbone in layout.backbones:
        yield _measured_row(columns, backbone.name, BASE, f"{backbone.label}, last token", UNTRAINED_NOTE)
        for baseline in layout.baselines:
            if (baseline.group, baseline.backbone) == (ZERO_SHOT_GROUP, backbone.name):
                yield _baseline_row(columns, baseline)


def _trained_rows(columns: RecallColumns) -> Iterator[TableRow]:
    """Build a row for each pair of a backbone and a tuned method."""
    layout = columns.results.layout
    for backbone in layout.backbones:
        for method in layout.trained_methods:
            note = describe_training_data(columns.results, backbone.name, method)
            yield _measured_row(columns, backbone.name, method, f"{layout.labels[method]} ({backbone.label})", note)


def _reranked_rows(columns: RecallColumns, facts: Facts) -> Iterator[TableRow]:
    """Build the re-ranked rows: first those of other papers, then ours."""
    for models in columns.paper.models_by_group(OTHER_PAPERS).values():
        yield from (_quoted_row(columns, facts, OTHER_PAPERS, model) for model in models)
    for baseline in columns.results.layout.baselines:
        if baseline.group == RERANKED_GROUP:
            yield _baseline_row(columns, baseline)


def _reranked_training_note(results: Results, baseline: Baseline) -> str:
    """Describe which system supplies the candidates, and the training data of that system and the re-ranker."""
    backbone, first_stage, reranker = baseline.backbone or "", baseline.first_stage or "", baseline.reranker or ""
    if first_stage in results.layout.labels:
        candidates = _results_folder(results, backbone, first_stage)
        training_notes = [describe_training_data(results, backbone, first_stage)]
    else:  # a comparator, which may not be a row of the preset
        is_row = any(one.name == first_stage for one in results.layout.baselines)
        candidates = _results_folder(results, BASELINES, first_stage) if is_row else first_stage
        training_notes = [_stated_training_note(baseline)]
    if reranker not in (*results.layout.unchanged_methods, first_stage):  # its backbone differs from base's
        training_notes.append(describe_training_data(results, backbone, reranker))
    return " ".join([f"Candidates: {candidates}.", *training_notes])


def _results_folder(results: Results, backbone: str, method: str) -> str:
    """Return the folder of a system's results, as printed in sources."""
    folder = results.folder / backbone / method
    if backbone != BASELINES:
        folder /= f"seed{results.layout.compared_seed(method)}"
    return results.relative_path(folder)


def _measured_row(columns: RecallColumns, backbone: str, method: str, label: str, training_note: str) -> TableRow:
    """Build the row of a system: recalls with intervals, and a footnote with their source or the missing files.

    Args:
        backbone, method: for a baseline, BASELINES and its name
        training_note: sentences about its training data
    """
    cells = columns.result_cells(partial(recall_cell, columns.results, backbone, method))
    missing, stale = (
        "; ".join(dict.fromkeys(cell.reason for cell in cells if cell.state == state)) for state in EMPTY_STATES
    )
    status = "Not run:" if missing else "" if stale else "Not run."
    sources = [source for cell in cells if cell.state == "measured" for source in cell.source.split("; ")]
    if sources:  # files in <run>/retrieval
        status = f"Measured: {', '.join(dict.fromkeys(Path(source).parents[1].as_posix() for source in sources))}."
    footnote_parts = [status, missing and f"{missing}.", stale and f"Stale: {stale}.", training_note]
    return TableRow(f"{backbone}/{method}", label, cells, " ".join(filter(None, footnote_parts)))
