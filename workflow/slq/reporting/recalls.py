"""The columns of Table 1, which its extension shares: recalls per set and direction, the paper's beside ours."""

from collections.abc import Iterable, Sequence

from slq.reporting.cells import Cell
from slq.reporting.grid import Column
from slq.reporting.layout import Slot, slots
from slq.reporting.records import Recalls, Record, Reference, Results, agreed

DIRECTIONS = {"i2t": "Image → Text", "t2i": "Text → Image"}
RECALLS = ("R@1", "R@5", "R@10")
SETS = {"flickr30k": "Flickr30K (1K test set)", "coco": "COCO (5K test set)"}
SHORT = {"flickr30k": "Flickr30K", "coco": "COCO"}
MARKS = "Bold: best; underlined: second-best; values that print alike share a mark."


def recall_places(ours: Results, papers: Reference) -> list[Slot]:
    """The paper's retrieval sets in its order, each with those of ours that stand for it; then the others of ours."""
    return slots(ours.layout.retrieval_sets, papers.sets())


def recalls(places: Sequence[Slot]) -> list[tuple[Slot, str, str]]:
    """Set, direction and recall of each column."""
    return [(place, way, recall) for place in places for way in DIRECTIONS for recall in RECALLS]


def recall_columns(places: Sequence[Slot], records: Iterable[Record]) -> tuple[Column, ...]:
    """The columns, under the names of the sets.

    Args:
        records: metrics files of rows of the table, which say how many images a set has

    Raises:
        SlqError: two files of a set disagree on the number of its images.
    """
    by_set: dict[str, list[Record]] = {}
    for record in records:
        by_set.setdefault(record.path.stem, []).append(record)
    return tuple(
        Column(f"{place.key} {way} {recall}", (_counted(place, by_set.get(place.key, [])), DIRECTIONS[way], recall))
        for place, way, recall in recalls(places)
    )


def _counted(place: Slot, records: Sequence[Record]) -> str:
    """The header of a set, with the number of images if results say it."""
    images = agreed(records, "n", "images")
    if place.entry is None or images is None:
        return place.header(SETS)
    count = f"{images / 1000:.0f}K" if images % 1000 == 0 else f"{images:.0f}"
    return f"{place.entry.label} ({count} test images)"


def run_records(ours: Results, places: Sequence[Slot]) -> list[Record]:
    """The metrics files of all runs on these sets."""
    return [
        record
        for place in places
        if place.entry is not None
        for backbone in ours.layout.backbones
        for method in ours.layout.methods
        for record in ours.over_seeds(backbone.name, method, f"retrieval/{place.entry.name}.json")
    ]


def quoted_cells(published: Recalls, model: str, places: Sequence[Slot]) -> tuple[Cell, ...]:
    """A published row; its cells rank with ours only where ours come from the same set."""
    cells = []
    for place, way, recall in recalls(places):
        quote = published.quotes.get((model, place.reference, way, recall))
        same_set = place.entry is not None and place.entry.is_the_papers
        cells.append(quote.cell(same_set) if quote else Cell.missing(f"nothing is published of {model} in this column"))
    return tuple(cells)


def no_set(ours: Results, place: Slot) -> Cell:
    """The missing cell of a column of the paper that the layout has no set for."""
    return Cell.missing(f"preset {ours.layout.preset} has no set that stands for {place.reference}")


def recall_notes(places: Sequence[Slot], papers: Reference) -> tuple[str, ...]:
    """What marks mean, and where quoted numbers take no part in them."""
    stand_ins = [
        place for place in places if place.entry and not place.entry.is_the_papers and place.reference in papers.sets()
    ]
    if not stand_ins:
        return (MARKS,)
    its = " and ".join(SHORT.get(place.reference, place.reference) for place in stand_ins)
    note = f"Quoted values are the paper's on its own {its}, not on {listed(stand_ins)}"
    return (MARKS, f"{note}: they take no part in the marks.")


def listed(places: Sequence[Slot]) -> str:
    """The sets in a sentence."""
    return " and ".join(place.header(SHORT) for place in places)
