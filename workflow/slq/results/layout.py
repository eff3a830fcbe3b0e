"""What the tables of one preset show: backbones, methods and sets, as the command line passes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slq.common.errors import SlqError
from slq.config.baselines import METHODS as METHODS
from slq.config.baselines import Row
from slq.config.runs import seeds_of
from slq.evaluation.retention_metrics import COUNTED


@dataclass(frozen=True)
class Entry:
    """A backbone or a set.

    name: in the results; label: in print
    reference: the paper's row or column that it stands for; empty: none
    scored_as: of a retention set the benchmark whose scorers read its answers
    """

    name: str
    label: str
    reference: str
    scored_as: str = ""

    @property
    def is_the_papers(self) -> bool:
        """The paper's own, as opposed to one that stands in for it: decided by the name in the config."""
        return self.name == self.reference

    @property
    def counts_hits(self) -> bool:
        """The score of what is scored as OCRBench is a number of hits; the others' are percent."""
        return self.scored_as in COUNTED


@dataclass(frozen=True)
class Layout:
    """The rows and columns that the config asks for.

    knowledge_sets: retrieval sets whose queries need knowledge; only a figure shows them
    table3_base: whether Table 3 has a row for the untouched base
    rows: systems that are no runs, in the order of the extended Table 1
    """

    preset: str
    seeds: tuple[int, ...]
    backbones: tuple[Entry, ...]
    methods: tuple[str, ...]
    retrieval_sets: tuple[Entry, ...]
    knowledge_sets: tuple[Entry, ...]
    retention_sets: tuple[Entry, ...]
    table3_base: bool
    rows: tuple[Row, ...] = ()

    def rows_of(self, kind: str) -> tuple[Row, ...]:
        """The rows of a kind: `comparator`, `zero_shot` or `rerank`."""
        return tuple(row for row in self.rows if row.kind == kind)

    def seeds_of(self, method: str) -> tuple[int, ...]:
        """The seeds of a method's runs; none if the layout leaves the method out."""
        return seeds_of(method, self.seeds) if method in self.methods else ()

    def compared_seed(self, method: str) -> int:
        """Whose run stands for a method where one run is looked at: the first seed's."""
        return seeds_of(method, self.seeds)[0]

    @property
    def several(self) -> bool:
        """A trained method has more than one run."""
        return len(self.seeds) > 1

    @property
    def which_seeds(self) -> str:
        """As captions say it: `seed 1`, or `seeds 1, 2`."""
        return f"seed{'s' * self.several} {', '.join(map(str, self.seeds))}"


@dataclass(frozen=True)
class Slot:
    """A set's place in a table: `entry` is None where the layout has nothing for the paper's column."""

    reference: str
    entry: Entry | None

    @property
    def key(self) -> str:
        """The set's name in `cells.csv`."""
        return self.entry.name if self.entry else self.reference

    def header(self, printed: Mapping[str, str]) -> str:
        """The paper's header over the paper's set and over an empty column, else the label of our entry."""
        if self.entry is None or self.entry.is_the_papers:
            return printed.get(self.reference, self.entry.label if self.entry else self.reference)
        return self.entry.label


def slots(entries: Sequence[Entry], references: Sequence[str]) -> list[Slot]:
    """The paper's columns in the paper's order, then sets of the layout that stand for none of them."""
    result = []
    for reference in references:
        standing = [entry for entry in entries if entry.reference == reference]
        result += [Slot(reference, entry) for entry in standing] or [Slot(reference, None)]
    return result + [Slot(entry.reference, entry) for entry in entries if entry.reference not in references]


def parse_layout(layout: Mapping[str, Any]) -> Layout:
    """The layout of the command line's JSON.

    Raises:
        SlqError: a key is missing or a method is unknown.
    """
    try:
        own: dict[str, Any] = {key: layout[key] for key in ("preset", "table3_base")}
        for key in ("backbones", "retrieval_sets", "knowledge_sets", "retention_sets"):
            own[key] = tuple(Entry(**one) for one in layout[key])
        own["rows"] = tuple(Row(**row) for row in layout.get("rows", ()))
        parsed = Layout(seeds=tuple(map(int, layout["seeds"])), methods=tuple(layout["methods"]), **own)
    except (KeyError, TypeError, ValueError) as error:
        raise SlqError(f"layout of the tables: {type(error).__name__} {error}; see slq/results/layout.py") from error
    unknown = sorted(set(parsed.methods) - set(METHODS))
    if unknown:
        raise SlqError(f"layout of the tables: unknown methods {unknown}; expected some of {list(METHODS)}")
    return parsed
