"""Table 1 with all that can be measured: ours beside the paper's, untrained, trained and re-ranked, with intervals."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from slq.common.inherited import PROVED
from slq.config.baselines import Row as System
from slq.config.runs import BASE_SEED
from slq.reporting.grid import Group, Row, Table, mark_columns
from slq.reporting.interval_tables import SEEDS, recall_cell
from slq.reporting.notes import UNTRAINED, flag, one_run, run_training, runs_shown
from slq.reporting.recalls import RecallColumns, Recalls, Reference
from slq.results.cells import NONE, Cell, rank
from slq.results.layout import METHODS, Entry
from slq.results.records import ROWS, Results, relative, sourced_rows

OTHERS = "retllm.csv"
SYSTEMS = "systems.csv"
COLUMNS = ["model", "trained_on", "test_seen", "remark", "evidence", "source"]
UNKNOWN = "not stated"
INTERVALS = "Small: 95 % intervals, by bootstrap over images, each with all its captions."
BOUND = "Re-ranking moves only the first k of a list: its R@1 is at most that list's R@k."
ELSEWHERE = "Other comparators"


@dataclass(frozen=True)
class Published:
    """Rows of other papers that stand beside the paper's, and what is known of quoted systems, by model.

    A reference without such files has none of either.
    """

    others: Recalls
    systems: dict[str, dict[str, str]]

    @classmethod
    def read(cls, reference: Path, root: Path) -> "Published":
        """Those of a folder of reference files; errors as in `slq.common.files.read_rows`."""
        others = Recalls.read(reference / OTHERS, root) if (reference / OTHERS).exists() else Recalls({}, {}, {})
        rows = sourced_rows(reference / SYSTEMS, COLUMNS, root) if (reference / SYSTEMS).exists() else []
        return cls(others, {row["model"]: row for row, _ in rows})

    def note(self, published: Recalls, model: str) -> str:
        """The footnote of a quoted row; evidence and source are of all that is known of the system."""
        known = dict.fromkeys(COLUMNS, "") | self.systems.get(model, {})
        source = f" ({known['source']}; evidence: {known['evidence']})" if known["evidence"] else ""
        said = f"Trained on: {known['trained_on'] or UNKNOWN}. Test images seen: {known['test_seen'] or UNKNOWN}"
        return f"Quoted from {published.origins[model]}. {said}{source}. {known['remark']}".rstrip()


@dataclass(frozen=True)
class Measured:
    """A system that is measured here.

    place: its backbone and method, as `Results` has them
    label: of its row
    training: what it has learned from, in sentences
    """

    place: tuple[str, str]
    label: str
    training: str


def extended_table(ours: Results, papers: Reference, published: Published) -> Table:
    """Every row of Table 1, and those that the paper does not have.

    Raises:
        SlqError: a file that exists cannot be used.
    """
    columns = RecallColumns(ours, papers)
    names = [f"retrieval/{place.entry.name}.json" for place in columns.places if place.entry]
    groups = _marked(
        [
            *_baselines(ours, papers, published, columns),
            Group("Zero-shot", "Zero-shot", _rows(columns, _untrained(ours))),
            Group("Trained", "Trained", _rows(columns, _trained(ours))),
            Group("Re-ranked", "Re-ranked", _reranked(ours, published, columns)),
        ]
    )
    return Table(
        name="table1_extended",
        number="1 extended",
        caption=f"Retrieval on {columns.listed}, R@K in percent: the paper's systems, ours beside them, read-outs "
        f"without training, tuned backbones, and lists that are re-ranked. {runs_shown(ours.layout, mean=False)}",
        stubs=("Model",),
        columns=columns.heads(
            record for row in ours.layout.rows for name in names for record in ours.over_seeds(ROWS, row.name, name)
        ),
        groups=groups,
        notes=(INTERVALS, *columns.notes(), BOUND, *flag(ours), *one_run(ours, SEEDS)),
        widths=(6.0, 1.33),
        stacked=True,
    )


def _marked(groups: Sequence[Group]) -> tuple[Group, ...]:
    """Best and second-best over the rows of all groups; groups without rows left out."""
    rows = iter(mark_columns([row for group in groups for row in group.rows], lambda _, cells: rank(cells)))
    return tuple(replace(group, rows=tuple(islice(rows, len(group.rows)))) for group in groups if group.rows)


def _baselines(ours: Results, papers: Reference, published: Published, columns: RecallColumns) -> list[Group]:
    """The paper's groups but for its own, each quoted row followed by ours for it; then other comparators."""
    groups, left = [], list(ours.layout.rows_of("comparator"))
    for label, models in papers.recalls.groups.items():
        rows: list[Row] = []
        for model in models if label != "Ours" else ():
            standing = [row for row in left if row.reference == model]
            left = [row for row in left if row not in standing]
            rows.append(_quoted(papers.recalls, published, model, columns))
            rows += _rows(columns, [_comparator(ours, row, ", here") for row in standing])
        groups.append(Group(label, label, tuple(rows)))
    others = [_comparator(ours, row) for row in left]
    return [*groups, Group(ELSEWHERE, ELSEWHERE, _rows(columns, others))]


def _quoted(recalls: Recalls, published: Published, model: str, columns: RecallColumns) -> Row:
    return Row(model, model, columns.quoted(recalls, model), published.note(recalls, model))


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
        for method in METHODS
        if method != "base"
    ]


def _reranked(ours: Results, published: Published, columns: RecallColumns) -> tuple[Row, ...]:
    """Other papers' rows, then ours."""
    others = [model for models in published.others.groups.values() for model in models]
    quoted = [_quoted(published.others, published, model, columns) for model in others]
    own = [_of_row(ours, row, _reranked_training(ours, row)) for row in ours.layout.rows_of("rerank")]
    return (*quoted, *_rows(columns, own))


def _reranked_training(ours: Results, row: System) -> str:
    """Whose list it is, and what that and the one who re-ranks have learned from."""
    backbone, coarse, by = row.backbone or "", row.coarse or "", row.by or ""
    if coarse in METHODS:
        candidates = _folder(ours, backbone, coarse)
        trained = [run_training(ours, backbone, coarse)]
    else:  # a comparator, which need not be a row of the preset
        rows = [one for one in ours.layout.rows if one.name == coarse]
        candidates = _folder(ours, ROWS, coarse) if rows else coarse
        trained = [_comparator_training(rows[0] if rows else System(coarse, "comparator", coarse))]
    if by not in ("base", *PROVED, coarse):  # whose backbone is no longer base's
        trained.append(run_training(ours, backbone, by))
    return " ".join([f"Candidates: {candidates}.", *trained])


def _of_run(ours: Results, backbone: Entry, method: str, label: str) -> Measured:
    return Measured((backbone.name, method), label, run_training(ours, backbone.name, method))


def _of_row(ours: Results, row: System, training: str) -> Measured:
    ours.run(ROWS, row.name, BASE_SEED)  # is refused if it is another row's
    return Measured((ROWS, row.name), row.label, training)


def _folder(ours: Results, backbone: str, method: str) -> str:
    """Where the results of a system lie, as sources have it."""
    return relative(ours.path(backbone, method, ours.layout.compared_seed(method), ""), ours.root)


def _rows(columns: RecallColumns, systems: Iterable[Measured]) -> tuple[Row, ...]:
    return tuple(_row(columns, system) for system in systems)


def _row(columns: RecallColumns, system: Measured) -> Row:
    """The recalls of a system with their intervals; its footnote says where they are from, or what is missing."""
    lacking: dict[str, list[str]] = {state: [] for state in NONE}

    def recall(name: str, way: str, recall: str) -> Cell:
        cell = recall_cell(columns.ours.compared(*system.place, name), way, recall)
        if cell.state in NONE:
            lacking[cell.state].append(cell.reason)
        return cell

    cells = columns.cells(recall)
    missing, stale = ("; ".join(dict.fromkeys(lacking[state])) for state in NONE)
    there = "Not run:" if missing else "" if stale else "Not run."
    if any(cell.state == "measured" for cell in cells):
        there = f"Measured: {_folder(columns.ours, *system.place)}."
    said = [there, missing and f"{missing}.", stale and f"Stale: {stale}.", system.training]
    return Row("/".join(system.place), system.label, cells, " ".join(filter(None, said)))
