"""The paper's Tables 1 and 3, and the columns of Table 1: recalls per set and direction, the paper's beside ours."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from slq.reporting.grid import Column
from slq.reporting.interval_tables import RECALLS
from slq.results.cells import Cell
from slq.results.layout import Slot, slots
from slq.results.records import COSTS, TABLE1, TABLE3, Record, Results, agreed, relative, sourced_rows

DIRECTIONS = {"i2t": "Image → Text", "t2i": "Text → Image"}
SETS = {"flickr30k": "Flickr30K (1K test set)", "coco": "COCO (5K test set)"}
SHORT = {"flickr30k": "Flickr30K", "coco": "COCO"}
MARKS = "Bold: best; underlined: second-best; values that print alike share a mark."


@dataclass(frozen=True)
class Recalls:
    """Published recalls.

    groups: models under their headings, in order
    quotes: by model, set, direction and metric
    origins: of each model the file that its numbers stand in, and where that has them from
    """

    groups: dict[str, list[str]]
    quotes: dict[tuple[str, ...], Cell]
    origins: dict[str, str]

    @classmethod
    def read(cls, path: Path, root: Path) -> "Recalls":
        """Those of a CSV in the form of `table1.csv`; errors as in `slq.common.files.read_rows`."""
        found = cls({}, {}, {})
        for row, source in sourced_rows(path, TABLE1, root):
            model = row["model"]
            key = (model, row["set"], row["direction"], row["metric"])
            found.quotes[key] = _quote(row["value"], row["value"], source)
            models = found.groups.setdefault(row["group"], [])
            if model not in models:
                models.append(model)
            found.origins[model] = f"{relative(path, root)} ({row['source']})"
        return found


class Reference:
    """The paper's Tables 1 and 3 from the folder of `table1.csv` and `table3.csv`."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.recalls = Recalls.read(folder / "table1.csv", root)
        self.table3 = {
            (row["backbone"], row["method"], row["column"]): _quote(row["value"], row["printed"], source)
            for row, source in sourced_rows(folder / "table3.csv", TABLE3, root)
        }

    def sets(self) -> list[str]:
        """Table 1's retrieval sets, in its order."""
        return list(dict.fromkeys(name for _, name, _, _ in self.recalls.quotes))

    def recalled(self) -> list[str]:
        """Table 3's retrieval sets, in its order; their columns are `<set>_<direction>_<metric>`."""
        return list(dict.fromkeys(name.split("_")[0] for _, _, name in self.table3 if name.count("_") == 2))

    def scored(self) -> list[str]:
        """Table 3's retention sets, in its order."""
        columns = dict.fromkeys(name for _, _, name in self.table3)
        return [name for name in columns if name.count("_") != 2 and name not in COSTS]


def _quote(value: str, printed: str, source: str) -> Cell:
    """A number as the paper prints it; the cell of none for a dash."""
    if not value:
        return Cell.missing(f"{source}: the paper prints a dash")
    return Cell.quoted(float(value), printed, source)


class RecallColumns:
    """The paper's retrieval sets in its order, each with those of ours that stand for it; then the others of ours."""

    def __init__(self, ours: Results, papers: Reference) -> None:
        self.ours = ours
        self.papers = papers
        self.places = slots(ours.layout.retrieval_sets, papers.sets())
        self.each = [(place, way, recall) for place in self.places for way in DIRECTIONS for recall in RECALLS]
        self.listed = listed(self.places)

    def heads(self, records: Iterable[Record] = ()) -> tuple[Column, ...]:
        """Head the columns with the names of the sets, and how many images they have if results say it.

        Args:
            records: metrics files that are not runs' and of which the table has rows

        Raises:
            SlqError: two files of a set disagree on the number of its images.
        """
        names = {f"retrieval/{place.entry.name}.json" for place in self.places if place.entry}
        by_set: dict[str, list[Record]] = {}
        for record in [*(found for name in sorted(names) for found in self.ours.everywhere(name)), *records]:
            by_set.setdefault(record.path.stem, []).append(record)
        return tuple(
            Column(f"{place.key} {way} {recall}", (_counted(place, by_set.get(place.key, [])), DIRECTIONS[way], recall))
            for place, way, recall in self.each
        )

    def cells(self, cell_of: Callable[[str, str, str], Cell]) -> tuple[Cell, ...]:
        """Fill a row of ours with what a metrics file has of a direction and recall; without a set it is missing."""
        return tuple(
            cell_of(f"retrieval/{place.entry.name}.json", way, recall) if place.entry else no_set(self.ours, place)
            for place, way, recall in self.each
        )

    def quoted(self, published: Recalls, model: str) -> tuple[Cell, ...]:
        """Fill a published row; its cells rank with ours only where ours come from the same set."""
        cells = []
        for place, way, recall in self.each:
            quote = published.quotes.get((model, place.reference, way, recall))
            same_set = place.entry is not None and place.entry.is_the_papers
            none = Cell.missing(f"nothing is published of {model} in this column")
            cells.append(replace(quote, comparable=same_set) if quote else none)
        return tuple(cells)

    def notes(self) -> tuple[str, ...]:
        """Say what marks mean, and where quoted numbers take no part in them."""
        known = self.papers.sets()
        stand_ins = [one for one in self.places if one.entry and not one.entry.is_the_papers and one.reference in known]
        if not stand_ins:
            return (MARKS,)
        its = " and ".join(SHORT.get(place.reference, place.reference) for place in stand_ins)
        note = f"Quoted values are the paper's on its own {its}, not on {listed(stand_ins)}"
        return (MARKS, f"{note}: they take no part in the marks.")


def _counted(place: Slot, records: list[Record]) -> str:
    """The header of a set, with the number of images if results say it."""
    images = agreed(records, "n", "images")
    if place.entry is None or images is None:
        return place.header(SETS)
    count = f"{images / 1000:.0f}K" if images % 1000 == 0 else f"{images:.0f}"
    return f"{place.entry.label} ({count} test images)"


def no_set(ours: Results, place: Slot) -> Cell:
    """Give the missing cell of a column of the paper that the layout has no set for."""
    return Cell.missing(f"preset {ours.layout.preset} has no set that stands for {place.reference}")


def listed(places: Iterable[Slot]) -> str:
    """List the sets in a sentence."""
    return " and ".join(place.header(SHORT) for place in places)
