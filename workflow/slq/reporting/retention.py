"""Table B: accuracy of the tuned backbones by dataset and type of question, beside chance and the blind base."""

from collections.abc import Sequence

from slq.common.errors import SlqError
from slq.methods.registry import BASE
from slq.reporting.notes import describe_runs, disputed_notes, missing_seeds_note, origin_note
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import Formatter, TableCell, format_integer, format_one_decimal
from slq.results.layout import LayoutEntry
from slq.results.records import Record, Results, common_number, joined_sources

COLUMNS = (Column("n", ("Items",)), Column("chance", ("Chance",)), Column("blind", ("Base, blind",)))
# Keys of the number of items, chance and accuracy in a metrics file: for all items, and for each question type.
ALL_ITEMS_KEYS: Sequence[tuple[str, ...]] = (("n", "items"), ("chance",), ("metrics", "accuracy"))
TYPE_KEYS = ("n", "chance", "score")
CHANCE_NOTE = (
    "Chance: the mean over items of the best guess that sees neither picture nor question: of multiple choice any "
    "option, of an open question the answer that most open items of its type accept."
)
BLIND_NOTE = "Base, blind: the same questions without their images."


def retention_table(results: Results) -> Table:
    """Build Table B: accuracy by method, of the blind base, and of chance, per backbone, dataset and question type.

    The blind base is base given the questions without their images.

    Raises:
        SlqError: runs of one dataset were scored by different scorers, or disagree about its items or chance.
    """
    layout = results.layout
    groups = tuple(_backbone_group(results, backbone) for backbone in layout.backbones)
    return Table(
        name="retention",
        number="B",
        caption=f"Right answers in percent, by retention dataset and type of question. {describe_runs(layout)}",
        stubs=("Questions",),
        columns=(*COLUMNS, *(Column(method, (label,)) for method, label in layout.labels.items())),
        groups=groups,
        widths=(9, 1.75),
        notes=(
            *_scorer_note(results),
            *origin_note(results),
            *disputed_notes(results),
            CHANCE_NOTE,
            BLIND_NOTE,
            *missing_seeds_note(layout, _cells_by_method(groups, list(layout.labels))),
        ),
    )


def _cells_by_method(groups: tuple[RowGroup, ...], methods: Sequence[str]) -> dict[str, list[TableCell]]:
    """Return the cells of each method's column, by `<backbone>/<method>`."""
    return {
        f"{group.key}/{method}": [row.cells[place] for row in group.rows]
        for group in groups
        for place, method in enumerate(methods, len(COLUMNS))
    }


def _backbone_group(results: Results, backbone: LayoutEntry) -> RowGroup:
    """Build the rows of a backbone: each dataset as a whole, then by question type."""
    rows = []
    for dataset in results.layout.retention_datasets:
        types = sorted(
            {
                question_type
                for record in _records(results, backbone, dataset)
                for question_type in record.value("types")
            }
        )
        rows += [_dataset_row(results, backbone, dataset, one) for one in ("", *types)]
    return RowGroup(backbone.name, backbone.label, tuple(rows))


def _dataset_row(results: Results, backbone: LayoutEntry, dataset: LayoutEntry, question_type: str = "") -> TableRow:
    """Build the row of a dataset, or of its items of one question type."""
    items, chance, accuracy = [("types", question_type, key) for key in TYPE_KEYS] if question_type else ALL_ITEMS_KEYS
    retention_file, blind_file = f"retention/{dataset.name}.json", f"blind/{dataset.name}.json"
    cells = (
        _dataset_cell(results, backbone, dataset, items, format_integer),
        _dataset_cell(results, backbone, dataset, chance, format_one_decimal),
        results.mean_cell(backbone.name, BASE, blind_file, accuracy, format_one_decimal),
        *(
            results.mean_cell(backbone.name, method, retention_file, accuracy, format_one_decimal)
            for method in results.layout.labels
        ),
    )
    key, label = (
        (f"{dataset.name}/{question_type}", f"{dataset.label}: {question_type}")
        if question_type
        else (dataset.name, dataset.label)
    )
    return TableRow(f"{backbone.name}/{key}", label, cells)


def _records(results: Results, backbone: LayoutEntry, dataset: LayoutEntry) -> list[Record]:
    """List the metrics files of a backbone's runs on a dataset, those of the blind base included."""
    blind = results.find_all_seeds(backbone.name, BASE, f"blind/{dataset.name}.json")
    return [*results.find_all_runs(f"retention/{dataset.name}.json", backbone), *blind]


def _dataset_cell(
    results: Results, backbone: LayoutEntry, dataset: LayoutEntry, keys: tuple[str, ...], formatter: Formatter
) -> TableCell:
    """Build the cell of a number that belongs to the dataset and is the same for all runs."""
    records = _records(results, backbone, dataset)
    number = common_number(records, *keys)
    if number is None:
        return TableCell.missing(f"no answers of {backbone.name} to {dataset.name} exist")
    return TableCell.measured(number, formatter, joined_sources(records), comparable=False)


def _scorer_note(results: Results) -> tuple[str, ...]:
    """Write the note that names the scorer of each dataset; empty without numbers.

    Raises:
        SlqError: two files of a dataset name different scorers.
    """
    labels = []
    for dataset in results.layout.retention_datasets:
        records = [record for backbone in results.layout.backbones for record in _records(results, backbone, dataset)]
        for record in records:
            if record.text("scorer") != records[0].text("scorer"):
                raise SlqError(f"scorer differs between {records[0].path} and {record.path}: one of them is stale")
        if records:
            labels.append(f"{dataset.label} by {records[0].text('scorer')}")
    return (f"Scorers: {'; '.join(labels)}.",) if labels else ()
