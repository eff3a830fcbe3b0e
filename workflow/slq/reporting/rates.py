"""Table F: the learning rate of every trained run, beside the search on val that it comes from, or none."""

from typing import Any

from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import (
    ABSENT,
    Formatter,
    TableCell,
    format_hours,
    format_integer,
    format_one_decimal,
    with_sign,
)
from slq.results.layout import LayoutEntry
from slq.results.load import Results
from slq.results.record import Record, read_record

LR_SWEEP_SCHEMA = 3
COLUMNS = (
    Column("used", ("Rate", "Used")),
    Column("chosen", ("Rate", "Chosen")),
    Column("lost", ("Rate", "Lost on val")),
    Column("grid", ("Search", "Rates tried")),
    Column("trials", ("Search", "Trials")),
    Column("diverged", ("Search", "Diverged")),
    Column("hours", ("Search", "Hours")),
    Column("verdict", ("Search", "Verdict")),
)
TABLE_NOTE = (
    "Each trial is a full training with the first seed. Chosen: the rate with the highest sum of R@1, R@5 and R@10 "
    "over both directions on the val split; of equal rates, the lowest. Lost on val: the mean of these six recalls at "
    "the used rate minus that at the chosen rate, in percentage points. Hours: device hours of all trials. Edge: the "
    "chosen rate is the lowest or highest that was tried, so that a better one may lie beyond. Not used: the run has "
    "another rate."
)


def rates_table(results: Results) -> Table:
    """Build Table F: for each backbone and trained method, the rate used and chosen, and the cost of the search."""
    layout = results.layout
    groups = tuple(
        RowGroup(
            backbone.name,
            backbone.label,
            tuple(
                TableRow(f"{backbone.name}/{method}", layout.labels[method], _row_cells(results, backbone, method))
                for method in layout.trained_methods
            ),
        )
        for backbone in layout.backbones
    )
    return Table(
        name="rates",
        number="F",
        caption="Learning rates, and the searches on the val split that they come from.",
        stubs=("Method",),
        columns=COLUMNS,
        groups=groups,
        notes=(TABLE_NOTE, *_not_searched_note(groups)),
    )


def _not_searched_note(groups: tuple[RowGroup, ...]) -> tuple[str, ...]:
    """Write the note about rates that no search has chosen; empty if there are none."""
    unsearched = []
    for group in groups:
        rows = [row.label for row in group.rows if row.cells[0].value is not None and row.cells[-1].value is None]
        unsearched += [f"{', '.join(rows)} on {group.label}"] if rows else []
    return (f"Not searched: {'; '.join(unsearched)}.",) if unsearched else ()


def _row_cells(results: Results, backbone: LayoutEntry, method: str) -> tuple[TableCell, ...]:
    """Build the cells of a method: of its first seed's run, and of the search with the same seed."""
    if method not in results.layout.methods:
        return (results.left_out_cell(method),) * len(COLUMNS)
    seed = results.layout.compared_seed(method)
    runs = [run for run in results.records("run", "", backbone.name) if (run.method, run.seed) == (method, seed)]
    folder = results.folder / backbone.name / method / f"seed{seed}"
    used = TableCell.missing(f"{results.relative_path(folder / 'run.json')}{ABSENT}")
    for run in runs:
        rate = run.record.number("settings", "hyperparameters", "learning_rate")
        used = TableCell.measured(rate, format_rate, run.source, comparable=False)
    path = folder / "lr_sweep.json"
    if not path.exists():
        return (used, *[TableCell.missing(f"{results.relative_path(path)}{ABSENT}")] * (len(COLUMNS) - 1))
    return (used, *_search_cells(read_record(path, results.root, LR_SWEEP_SCHEMA), used))


def _search_cells(search: Record, used: TableCell) -> tuple[TableCell, ...]:
    """Build the cells of a search; `used` is the cell of the run's rate."""
    trials: list[dict[str, Any]] = search.value("trials")
    rates = [trial["learning_rate"] for trial in trials]
    recalls = {trial["learning_rate"]: mean_recall(trial["val"]) for trial in trials if trial["val"]}
    best = search.value("learning_rate")

    def number(value: float, formatter: Formatter) -> TableCell:
        return TableCell.measured(value, formatter, search.source, comparable=False)

    chosen = TableCell.missing(f"{search.source}: all trials diverged") if best is None else number(best, format_rate)
    lost = TableCell.missing(used.reason or f"{search.source}: no finished trial has the rate {used.text}")
    if used.value in recalls:
        lost = number(recalls[used.value] - recalls[best], with_sign(format_one_decimal))
    verdict = "edge" if search.value("edge") else "inside the grid"
    verdict += "; not used" if used.value is not None and used.value != best else ""
    return (
        chosen,
        lost,
        TableCell.measured_text(f"{format_rate(min(rates))} to {format_rate(max(rates))}", search.source),
        number(len(trials), format_integer),
        number(len(trials) - len(recalls), format_integer),
        number(search.number("hours"), format_hours),
        TableCell.measured_text(verdict, search.source),
    )


def mean_recall(recalls: dict[str, dict[str, float]]) -> float:
    """Return the mean over directions and K of the recalls on val."""
    values = [value for of_direction in recalls.values() for value in of_direction.values()]
    return sum(values) / len(values)


def format_rate(value: float) -> str:
    """Format a learning rate without trailing zeros: 0.03, 1e-05."""
    return f"{value:g}"
