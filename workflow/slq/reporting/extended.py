"""Table 1 with all that can be measured: ours beside the paper's, untrained, trained and re-ranked, with intervals."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from slq.proofs import PROVED
from slq.reporting.cells import NONE, Cell, rank
from slq.reporting.evidence import one_run
from slq.reporting.grid import Group, Row, Table, mark_columns
from slq.reporting.intervals import SEEDS, recall_cell
from slq.reporting.layout import METHODS, Entry, Slot
from slq.reporting.leaks import flag
from slq.reporting.recalls import (
    listed,
    no_set,
    quoted_cells,
    recall_columns,
    recall_notes,
    recall_places,
    recalls,
    run_records,
)
from slq.reporting.records import Recalls, Record, Reference, Results, relative
from slq.reporting.row_results import ROWS, RowResults
from slq.reporting.seeds import runs_shown
from slq.reporting.systems import UNKNOWN, Published
from slq.reporting.trained import TUNED, UNTRAINED, run_training
from slq.rows import Row as System

INTERVALS = "Small: 95 % intervals, by bootstrap over images, each with all its captions."
BOUND = "Re-ranking moves only the first k of a list: its R@1 is at most that list's R@k."
ELSEWHERE = "Other comparators"


@dataclass(frozen=True)
class Measured:
    """A system that is measured here.

    key, label: of its row
    folder: of its results, as sources have it
    find: its metrics file of this name, or the missing cell that says why there is none
    training: what it has learned from, in sentences
    """

    key: str
    label: str
    folder: str
    find: Callable[[str], Record | Cell]
    training: str


def extended_table(ours: Results, papers: Reference, published: Published) -> Table:
    """Every row of Table 1, and those that the paper does not have.

    Raises:
        SlqError: a file that exists cannot be used.
    """
    places = recall_places(ours, papers)
    groups = _marked(
        [
            *_baselines(ours, papers, published, places),
            Group("Zero-shot", "Zero-shot", _rows(ours, places, _untrained(ours))),
            Group("Trained", "Trained", _rows(ours, places, _trained(ours))),
            Group("Re-ranked", "Re-ranked", _reranked(ours, published, places)),
        ]
    )
    return Table(
        name="table1_extended",
        number="1 extended",
        caption=f"Retrieval on {listed(places)}, R@K in percent: the paper's systems, ours beside them, read-outs "
        f"without training, tuned backbones, and lists that are re-ranked. {runs_shown(ours.layout, mean=False)}",
        stubs=("Model",),
        columns=recall_columns(places, [*run_records(ours, places), *_row_records(ours, places)]),
        groups=groups,
        notes=(INTERVALS, *recall_notes(places, papers), BOUND, *flag(ours), *one_run(ours, SEEDS)),
        widths=(6.0, 1.33),
        stacked=True,
    )


def _marked(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Best and second-best over the rows of all groups; groups without rows left out."""
    rows = iter(mark_columns([row for group in groups for row in group.rows], lambda _, cells: rank(cells)))
    return tuple(replace(group, rows=tuple(islice(rows, len(group.rows)))) for group in groups if group.rows)


def _row_records(ours: Results, places: Sequence[Slot]) -> list[Record]:
    names = [f"retrieval/{place.entry.name}.json" for place in places if place.entry]
    found = (RowResults(ours, row.name).find(name) for row in ours.layout.rows for name in names)
    return [record for record in found if record is not None]


def _baselines(ours: Results, papers: Reference, published: Published, places: Sequence[Slot]) -> list[Group]:
    """The paper's groups but for its own, each quoted row followed by ours for it; then other comparators."""
    groups, left = [], list(ours.layout.rows_of("comparator"))
    for label, models in papers.groups.items():
        rows: list[Row] = []
        for model in models if label != "Ours" else ():
            standing = [row for row in left if row.reference == model]
            left = [row for row in left if row not in standing]
            rows.append(_quoted(papers.recalls, published, model, places))
            rows += _rows(ours, places, [_comparator(ours, row, ", here") for row in standing])
        groups.append(Group(label, label, tuple(rows)))
    others = [_comparator(ours, row) for row in left]
    return [*groups, Group(ELSEWHERE, ELSEWHERE, _rows(ours, places, others))]


def _quoted(recalls_: Recalls, published: Published, model: str, places: Sequence[Slot]) -> Row:
    return Row(model, model, quoted_cells(recalls_, model, places), published.note(recalls_, model))


def _comparator(ours: Results, row: System, behind: str = "") -> Measured:
    """`behind` its name: of ours below the paper's, which may have the same."""
    return replace(_of_row(ours, row, _comparator_training(row)), label=row.label + behind)


def _comparator_training(row: System) -> str:
    return f"Trained on: {row.trained_on or UNKNOWN}. Test images seen: not stated beyond that."


def _untrained(ours: Results) -> list[Measured]:
    """Of each backbone the last token, which is base, and its other read-outs."""
    found = []
    for backbone in ours.layout.backbones:
        found.append(_of_run(ours, backbone, "base", f"{backbone.label}, last token"))
        rows = [row for row in ours.layout.rows_of("zero_shot") if row.backbone == backbone.name]
        found += [_of_row(ours, row, UNTRAINED) for row in rows]
    return found


def _trained(ours: Results) -> list[Measured]:
    return [
        _of_run(ours, backbone, method, f"{METHODS[method]} ({backbone.label})")
        for backbone in ours.layout.backbones
        for method in TUNED
    ]


def _reranked(ours: Results, published: Published, places: Sequence[Slot]) -> tuple[Row, ...]:
    """Other papers' rows, then ours."""
    others = [model for models in published.others.groups.values() for model in models]
    quoted = [_quoted(published.others, published, model, places) for model in others]
    own = [_of_row(ours, row, _reranked_training(ours, row)) for row in ours.layout.rows_of("rerank")]
    return (*quoted, *_rows(ours, places, own))


def _reranked_training(ours: Results, row: System) -> str:
    """Whose list it is, and what that and the one who re-ranks have learned from."""
    backbone, coarse, by = row.backbone or "", row.coarse or "", row.by or ""
    if coarse in METHODS:
        candidates = relative(ours.path(backbone, coarse, ours.layout.compared_seed(coarse), ""), ours.root)
        trained = [run_training(ours, backbone, coarse)]
    else:  # a comparator, which need not be a row of the preset
        rows = [one for one in ours.layout.rows if one.name == coarse]
        candidates = RowResults(ours, coarse).folder if rows else coarse
        trained = [_comparator_training(rows[0] if rows else System(coarse, "comparator", coarse))]
    if by not in ("base", *PROVED, coarse):  # whose backbone is no longer base's
        trained.append(run_training(ours, backbone, by))
    return " ".join([f"Candidates: {candidates}.", *trained])


def _of_run(ours: Results, backbone: Entry, method: str, label: str) -> Measured:
    seed = ours.layout.compared_seed(method)

    def find(name: str) -> Record | Cell:
        return ours.find(backbone.name, method, seed, name) or ours.missing(backbone.name, method, name)

    folder = relative(ours.path(backbone.name, method, seed, ""), ours.root)
    training = run_training(ours, backbone.name, method)
    return Measured(f"{backbone.name}/{method}", label, folder, find, training)


def _of_row(ours: Results, row: System, training: str) -> Measured:
    files = RowResults(ours, row.name)
    files.row()  # is refused if it is another row's

    def find(name: str) -> Record | Cell:
        return files.find(name) or files.missing(name)

    return Measured(f"{ROWS}/{row.name}", row.label, files.folder, find, training)


def _rows(ours: Results, places: Sequence[Slot], systems: Iterable[Measured]) -> tuple[Row, ...]:
    return tuple(_row(ours, places, system) for system in systems)


def _row(ours: Results, places: Sequence[Slot], system: Measured) -> Row:
    """The recalls of a system with their intervals; its footnote says where they are from, or what is missing."""
    cells: list[Cell] = []
    lacking: dict[str, list[str]] = {state: [] for state in NONE}
    for place, way, recall in recalls(places):
        found = no_set(ours, place) if place.entry is None else system.find(f"retrieval/{place.entry.name}.json")
        cells.append(found if isinstance(found, Cell) else recall_cell(found, way, recall))
        if place.entry and cells[-1].state in NONE:
            lacking[cells[-1].state].append(cells[-1].reason)
    missing, stale = ("; ".join(dict.fromkeys(lacking[state])) for state in NONE)
    there = "Not run:" if missing else "" if stale else "Not run."
    if any(cell.state == "measured" for cell in cells):
        there = f"Measured: {system.folder}."
    said = [there, missing and f"{missing}.", stale and f"Stale: {stale}.", system.training]
    return Row(system.key, system.label, tuple(cells), " ".join(filter(None, said)))
