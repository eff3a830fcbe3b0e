"""Table E: recall under other counting rules, for ties, captions per image, galleries and leaked images."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

from slq.evaluation.rank_table import compute_recalls_by_leakage
from slq.reporting.interval_tables import DIRECTION_LABELS
from slq.reporting.notes import leak_note, leaked_ids
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, empty_cell, format_one_decimal
from slq.results.evidence import evidence
from slq.results.layout import LayoutEntry
from slq.results.load import Results

METRIC = "R@5"
LEAK_PARTS = ("clean", "leaked")
TABLE_NOTE = (
    "Printed: as in Tables 1 and 3; ties are resolved in the query's favour, and any caption of an image is a hit. Own "
    "captions: the share of an image's captions that rank within 5, as a mean over images. Ties: the number of ranks "
    "that depend on how ties are resolved."
)


def recall_variants_table(results: Results) -> Table:
    """Build Table E: R@5 of every method under each counting rule, by dataset."""
    datasets = results.layout.retrieval_datasets
    return Table(
        name="counts",
        number="E",
        caption="Recall at 5 in percent under other counting rules.",
        stubs=("Counted",),
        columns=tuple(
            Column(f"{method} {direction}", (label, DIRECTION_LABELS[direction]))
            for method, label in results.layout.labels.items()
            for direction in DIRECTION_LABELS
        ),
        groups=tuple(
            RowGroup(
                one.name, one.label, tuple(row for dataset in datasets for row in _dataset_rows(results, one, dataset))
            )
            for one in results.layout.backbones
        ),
        notes=(TABLE_NOTE, *leak_note(results)),
        widths=(7.6, 1.75),
    )


def _dataset_rows(results: Results, backbone: LayoutEntry, dataset: LayoutEntry) -> list[TableRow]:
    """Build the rows of one dataset, one per counting rule."""

    def make_row(key: str, label: str, make_cell: Callable[[str, str], TableCell]) -> TableRow:
        cells = tuple(
            make_cell(method, direction) for method in results.layout.labels for direction in DIRECTION_LABELS
        )
        return TableRow(f"{backbone.name}/{dataset.name}/{key}", f"{dataset.label}: {label}", cells)

    def counted(metric: str, variant: str = "") -> Callable[[str, str], TableCell]:
        return lambda method, direction: results.cell(
            backbone.name, method, "retrieval", dataset.name, metric, direction, variant
        )

    def leak_cell(part: str, method: str, direction: str) -> TableCell:
        return leak_cells[method][part, direction]

    def own_captions_cell(method: str, direction: str) -> TableCell:
        if direction == "t2i":
            return TableCell.missing("the same as printed, because a caption has only one image")
        return counted(METRIC)(method, "i2t_strict")

    rows = [
        make_row("pessimistic", "ties against the query", counted(f"{METRIC} pessimistic")),
        make_row("ties", "ties", counted("ties")),
        make_row("strict", "own captions", own_captions_cell),
    ]
    suffix = ""
    for record in [file.record for file in results.records("retrieval", dataset.name, backbone.name)][:1]:
        suffix = f" ({describe_variant(record.value('variant_settings'))})"
        for variant in record.value("variants"):
            label = describe_variant(record.value("variants", variant, "variant_settings"))
            rows.append(make_row(variant, label, counted(METRIC, variant)))
    if leaked_ids(results.audit, dataset):
        leak_cells = {method: _leak_cells(results, backbone, method, dataset) for method in results.layout.labels}
        rows += [make_row(part, part, partial(leak_cell, part)) for part in LEAK_PARTS]
    return [make_row("printed", f"printed{suffix}", counted(METRIC)), *rows]


def describe_variant(counting_rule: dict[str, int | None]) -> str:
    """Describe the settings of a variant in words: captions per image, and images per fold."""
    count = counting_rule["captions"]
    captions = "all captions" if count is None else f"{count} captions per image"
    return captions if counting_rule["fold"] is None else f"{captions}, folds of {counting_rule['fold']} images"


def _leak_cells(
    results: Results, backbone: LayoutEntry, method: str, dataset: LayoutEntry
) -> dict[tuple[str, str], TableCell]:
    """Compute R@5 on clean and on leaked images as the mean over the seeds whose ranks exist.

    The keys are pairs of part (`clean`, `leaked`) and direction.
    """
    rows = results.rows(backbone.name, method, "retrieval", dataset.name, METRIC, "t2i")
    ranks_or_cells = [evidence(row) for row in rows]
    available = [one for one in ranks_or_cells if not isinstance(one, TableCell)]
    empty = empty_cell(one for one in ranks_or_cells if isinstance(one, TableCell))
    if not available:
        empty = empty if rows else results.left_out_cell(method)
        return {(part, direction): empty for part in LEAK_PARTS for direction in DIRECTION_LABELS}
    parts = [compute_recalls_by_leakage(table, leaked_ids(results.audit, dataset)) for table in available]
    audit_name = results.relative_path(results.folder / "audit.json")
    source = "; ".join([*(table.attrs["source"] for table in available), audit_name])
    cells = {}
    for part, direction in product(LEAK_PARTS, DIRECTION_LABELS):
        metrics = [counts[part]["metrics"] for counts in parts]
        values = [recalls[direction][METRIC] for recalls in metrics if recalls is not None]
        mean = TableCell.mean(values, format_one_decimal, source) if values else TableCell.missing(f"no {part} image")
        cells[part, direction] = replace(mean, reason=empty.reason) if values else mean
    return cells
