"""Table B: accuracy of the tuned backbones by dataset and question type, next to chance and the blind base."""

from collections.abc import Sequence

from slq.common.errors import SlqError
from slq.methods.registry import BASE
from slq.reporting.notes import disputed_notes, missing_seeds_note, origin_note
from slq.reporting.table_model import Column, RowGroup, Table, TableRow
from slq.results.cells import TableCell, common_cell
from slq.results.layout import LayoutEntry
from slq.results.load import Results

COLUMNS = (Column("n", ("Items",)), Column("chance", ("Chance",)), Column("blind", ("Base, blind",)))
CHANCE_NOTE = (
    "Chance: the mean over items of the best guess without image and question. For multiple choice, it is any option; "
    "for an open question, the answer that most open items of its type accept."
)
BLIND_NOTE = "Base, blind: base answers the same questions without their images."


def retention_table(results: Results) -> Table:
    """Build Table B: accuracy of each method, of the blind base and of chance, by backbone, dataset and question type.

    The blind base answers the questions without their images.

    Raises:
        SlqError: runs of one dataset were scored by different scorers, or disagree about its items or chance.
    """
    layout = results.layout
    groups = tuple(_backbone_group(results, backbone) for backbone in layout.backbones)
    return Table(
        name="retention",
        number="B",
        caption="Correct answers in percent, by retention dataset and question type.",
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
    """Return the cells of each method's column, keyed by `<backbone>/<method>`."""
    return {
        f"{group.key}/{method}": [row.cells[place] for row in group.rows]
        for group in groups
        for place, method in enumerate(methods, len(COLUMNS))
    }


def _backbone_group(results: Results, backbone: LayoutEntry) -> RowGroup:
    """Build the rows of a backbone: for each dataset, one row for all questions and one per question type."""
    numbers, rows = results.numbers, []
    for dataset in results.layout.retention_datasets:
        found = numbers[(numbers["backbone"] == backbone.name) & (numbers["dataset"] == dataset.name)]
        rows += [_dataset_row(results, backbone, dataset, one) for one in sorted({"", *found["question_type"]})]
    return RowGroup(backbone.name, backbone.label, tuple(rows))


def _dataset_row(results: Results, backbone: LayoutEntry, dataset: LayoutEntry, question_type: str) -> TableRow:
    """Build the row of a dataset, or of one of its question types."""

    def common(metric: str) -> TableCell:
        """Build the cell of a number of the dataset, which is the same for all runs."""
        places = [*((method, "retention") for method in results.layout.labels), (BASE, "blind")]
        rows = [
            row
            for method, kind in places
            for row in results.rows(backbone.name, method, kind, dataset.name, metric, question_type=question_type)
        ]
        return common_cell(rows, f"no answers of {backbone.name} to {dataset.name} exist")

    def accuracy(method: str, kind: str = "retention") -> TableCell:
        return results.cell(backbone.name, method, kind, dataset.name, "accuracy", question_type=question_type)

    cells = (common("items"), common("chance"), accuracy(BASE, "blind"), *map(accuracy, results.layout.labels))
    of_type, in_print = (f"/{question_type}", f": {question_type}") if question_type else ("", "")
    return TableRow(f"{backbone.name}/{dataset.name}{of_type}", f"{dataset.label}{in_print}", cells)


def _scorer_note(results: Results) -> tuple[str, ...]:
    """Write the note that names the scorer of each dataset; empty if there are no numbers.

    Raises:
        SlqError: two files of a dataset name different scorers.
    """
    labels = []
    for dataset in results.layout.retention_datasets:
        files = [file for kind in ("retention", "blind") for file in results.records(kind, dataset.name)]
        for record in (file.record for file in files):
            if record.text("scorer") != files[0].record.text("scorer"):
                raise SlqError(f"scorer differs between {files[0].record.path} and {record.path}: one of them is stale")
        if files:
            labels.append(f"{dataset.label} by {files[0].record.text('scorer')}")
    return (f"Scorers: {'; '.join(labels)}.",) if labels else ()
