"""The columns of Table 1, which its extension shares: recalls per set and direction, the paper's beside ours."""

from collections.abc import Callable, Iterable

from slq.reporting.cells import Cell
from slq.reporting.grid import Column
from slq.reporting.intervals import RECALLS
from slq.reporting.layout import Slot, slots
from slq.reporting.records import Recalls, Record, Reference, Results, agreed

DIRECTIONS = {"i2t": "Image → Text", "t2i": "Text → Image"}
SETS = {"flickr30k": "Flickr30K (1K test set)", "coco": "COCO (5K test set)"}
SHORT = {"flickr30k": "Flickr30K", "coco": "COCO"}
MARKS = "Bold: best; underlined: second-best; values that print alike share a mark."


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
            cells.append(quote.cell(same_set) if quote else none)
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
