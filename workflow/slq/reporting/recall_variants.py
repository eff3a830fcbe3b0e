"""Table E: recall counted in other ways: ties, own captions only, other galleries, with and without leaked images."""

from collections.abc import Callable
from dataclasses import replace

from slq.evaluation.rank_table import compute_recalls_by_leakage
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.reporting.notes import describe_runs, find_audit, leak_note, leaked_ids
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, format_integer, format_one_decimal, merge_missing_cells
from slq.results.evidence import load_run_ranks
from slq.results.layout import LayoutEntry
from slq.results.records import Record, Results

METRIC = "R@5"
LEAK_PARTS = ("clean", "leaked")
TABLE_NOTE = (
    "Printed: as in Tables 1 and 3, ties in the query's favour, any caption of an image a hit. Own captions: the share "
    "of an image's captions that rank within 5, mean over images. Ties: how many ranks they decide."
)


def recall_variants_table(results: Results) -> Table:
    """Build Table E: R@5 of every method under each way of counting, by dataset.

    Raises:
        SlqError: a file that exists cannot be used.
    """
    audit, datasets = find_audit(results), results.layout.retrieval_datasets
    return Table(
        name="counts",
        number="E",
        caption=f"Recall at 5 in percent, counted in other ways. {describe_runs(results.layout)}",
        stubs=("Counted",),
        columns=tuple(
            Column(f"{method} {direction}", (label, DIRECTION_LABELS[direction]))
            for method, label in results.layout.labels.items()
            for direction in DIRECTION_LABELS
        ),
        groups=tuple(
            RowGroup(
                one.name,
                one.label,
                tuple(row for dataset in datasets for row in _dataset_rows(results, one, dataset, audit)),
            )
            for one in results.layout.backbones
        ),
        notes=(TABLE_NOTE, *leak_note(results, audit)),
        widths=(7.6, 1.75),
    )


def _dataset_rows(
    results: Results, backbone: LayoutEntry, dataset: LayoutEntry, audit: Record | None
) -> list[TableRow]:
    """Build the rows of one dataset, one for each way of counting."""
    file_name = f"retrieval/{dataset.name}.json"
    records = results.find_all_runs(file_name, backbone)
    printed_suffix = f" ({describe_variant(records[0].value('variant_settings'))})" if records else ""

    def make_row(key: str, label: str, make_cell: Callable[[str, str], TableCell]) -> TableRow:
        cells = tuple(
            make_cell(method, direction) for method in results.layout.labels for direction in DIRECTION_LABELS
        )
        return TableRow(f"{backbone.name}/{dataset.name}/{key}", f"{dataset.label}: {label}", cells)

    def recall_cell(*keys: str) -> Callable[[str, str], TableCell]:
        return lambda method, direction: results.mean_cell(
            backbone.name, method, file_name, (*keys, direction, METRIC), format_one_decimal
        )

    def leak_cell(part: str) -> Callable[[str, str], TableCell]:
        return lambda method, direction: leak_cells[method][part, direction]

    def own_captions_cell(method: str, direction: str) -> TableCell:
        if direction == "t2i":
            return TableCell.missing("a caption has one image: the same as printed")
        return recall_cell("metrics")(method, "i2t_strict")

    rows = [
        make_row("printed", f"printed{printed_suffix}", recall_cell("metrics")),
        make_row("pessimistic", "ties against the query", recall_cell("pessimistic")),
        make_row(
            "ties",
            "ties",
            lambda method, direction: results.mean_cell(
                backbone.name, method, file_name, ("ties", direction), format_integer
            ),
        ),
        make_row("strict", "own captions", own_captions_cell),
    ]
    for variant in records[0].value("variants") if records else ():
        label = describe_variant(records[0].value("variants", variant, "variant_settings"))
        rows.append(make_row(variant, label, recall_cell("variants", variant, "metrics")))
    if audit is not None and leaked_ids(audit, dataset):
        leak_cells = {
            method: _leak_cells(results, backbone, method, dataset, audit) for method in results.layout.labels
        }
        rows += [make_row(part, part, leak_cell(part)) for part in LEAK_PARTS]
    return rows


def describe_variant(counting_rule: dict[str, int | None]) -> str:
    """Describe the settings of a variant in words: captions per image, and size of the folds."""
    captions = "all captions" if counting_rule["captions"] is None else f"{counting_rule['captions']} captions an image"
    return captions if counting_rule["fold"] is None else f"{captions}, folds of {counting_rule['fold']} images"


def _leak_cells(
    results: Results, backbone: LayoutEntry, method: str, dataset: LayoutEntry, audit: Record
) -> dict[tuple[str, str], TableCell]:
    """Compute R@5 on clean and on leaked images, averaged over the seeds whose ranks exist.

    The result is keyed by part (`clean`, `leaked`) and direction.
    """
    ranks_or_cells = [
        load_run_ranks(results, backbone.name, method, dataset.name, seed) for seed in results.layout.seeds_of(method)
    ]
    available = [one for one in ranks_or_cells if not isinstance(one, TableCell)]
    merged_cell = merge_missing_cells(ranks_or_cells)
    if not available:
        no_ranks_cell = (
            merged_cell
            if ranks_or_cells
            else results.missing_cell(backbone.name, method, f"retrieval/{dataset.name}.ranks.parquet")
        )
        return {(part, direction): no_ranks_cell for part in LEAK_PARTS for direction in DIRECTION_LABELS}
    parts = [compute_recalls_by_leakage(one.table, leaked_ids(audit, dataset)) for one in available]
    source = "; ".join([*(one.source for one in available), audit.source])
    cells = {}
    for part in LEAK_PARTS:
        for direction in DIRECTION_LABELS:
            metrics = [counted[part]["metrics"] for counted in parts]
            values = [recalls[direction][METRIC] for recalls in metrics if recalls is not None]
            cell = (
                replace(TableCell.mean(values, format_one_decimal, source), reason=merged_cell.reason)
                if values
                else None
            )
            cells[part, direction] = cell or TableCell.missing(f"no {part} image")
    return cells
