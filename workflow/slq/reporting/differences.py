"""One method against another on one set, on the same images or questions: what Table D and the claims are made of."""

from slq.errors import SlqError
from slq.evaluation.intervals import SEED, Difference, accuracy_difference, clusters, recall_differences
from slq.reporting.cells import Cell
from slq.reporting.evidence import judged, ranked
from slq.reporting.intervals import WAYS
from slq.reporting.layout import Entry
from slq.reporting.records import Results

Apart = tuple[Difference, str]  # and the files that it was counted from


def recalls_apart(
    ours: Results, backbone: Entry, one: str, other: str, entry: Entry
) -> dict[tuple[str, str], Apart] | Cell:
    """Recalls of one method minus another's by direction and R@K, or the missing cell of the first without ranks.

    Of several seeds the first is compared.

    Raises:
        SlqError: the two are not of the same images and captions, or a file that exists cannot be used.
    """
    mine, its = (
        ranked(ours, backbone.name, method, ours.layout.compared_seed(method), entry.name) for method in (one, other)
    )
    if isinstance(mine, Cell):
        return mine
    if isinstance(its, Cell):
        return its
    source = f"{mine.source}; {its.source}"
    found: dict[tuple[str, str], Apart] = {}
    for way in WAYS:
        try:
            differences = recall_differences(clusters(mine.table, way), clusters(its.table, way), SEED)
        except SlqError as error:
            raise SlqError(f"{source}: {error}") from error
        found |= {(way, recall): (difference, source) for recall, difference in differences.items()}
    return found


def scores_apart(ours: Results, backbone: Entry, one: str, other: str, entry: Entry) -> tuple[Apart, int] | Cell:
    """Accuracy of one method minus another's in percent, and the number of questions, or a missing cell.

    Errors as in `recalls_apart`.
    """
    mine, its = (
        judged(ours, backbone.name, method, ours.layout.compared_seed(method), entry.name) for method in (one, other)
    )
    if isinstance(mine, Cell):
        return mine
    if isinstance(its, Cell):
        return its
    source = f"{mine.source}; {its.source}"
    try:
        return (accuracy_difference(mine.hits, its.hits, SEED), source), len(mine.hits)
    except SlqError as error:
        raise SlqError(f"{source}: {error}") from error
