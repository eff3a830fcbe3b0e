"""SLQ against the other tuned methods, benchmark by benchmark, on the same images and questions; the claims ask too."""

from functools import cache, partial

from slq.common.errors import SlqError
from slq.evaluation.statistics import SEED, Difference, accuracy_difference, clusters, recall_differences
from slq.reporting.grid import Column, Table
from slq.reporting.interval_tables import WAYS, by_benchmark
from slq.reporting.notes import one_run, runs_shown
from slq.results.cells import Cell, Format, integer, one_decimal, probability, with_sign
from slq.results.evidence import judged, ranked
from slq.results.layout import METHODS, Entry
from slq.results.records import Results

Apart = tuple[Difference, str]  # and the files that it was counted from
OTHERS = ("lora", "full_ft")
LEVEL = 0.05  # below it a difference has a word
HEADS = {"difference": "Difference", "p": "p", "verdict": "Verdict"}
HOW = (
    "Difference: SLQ minus the other, in points of percent, of OCRBench in hits, with its 95 % interval. Recalls: "
    "paired bootstrap over images; scores: McNemar's exact test on the questions that only one of the two answers, "
    f"interval by bootstrap over questions. A verdict needs p below {LEVEL}. p is of each row alone: of twenty rows "
    "without a true difference, one gets a verdict on average."
)
SEEDS = (
    "runs of one seed see the same data in the same order, and a test on the same images wants a run against a run. It "
    "does not say what another seed would give."
)


def comparisons_table(ours: Results) -> Table:
    """Differences, intervals, p-values and verdicts, of SLQ against LoRA and full fine-tuning.

    Raises:
        SlqError: two runs are not of the same set, or a file that exists cannot be used.
    """
    apart = cache(partial(recalls_apart, ours))  # is of all recalls of a set, and takes a while

    def recalls(backbone: Entry, entry: Entry, way: str, recall: str) -> list[Cell]:
        pairs = (apart(backbone, "slq", other, entry) for other in OTHERS)
        found = (one if isinstance(one, Cell) else one[way, recall] for one in pairs)
        return [cell for one in found for cell in _cells(one, 1.0, one_decimal)]

    def scores(backbone: Entry, entry: Entry) -> list[Cell]:
        return [cell for other in OTHERS for cell in _scores(ours, backbone, other, entry)]

    return Table(
        name="comparisons",
        number="D",
        caption=f"SLQ against other tuning, on the same images and questions. {runs_shown(ours.layout, mean=False)}",
        stubs=("Benchmark",),
        columns=tuple(
            Column(f"{other} {key}", (f"SLQ against {METHODS[other]}", head))
            for other in OTHERS
            for key, head in HEADS.items()
        ),
        groups=by_benchmark(ours, recalls, scores),
        notes=(HOW, *one_run(ours, SEEDS)),
        widths=(5.4, 2.9),
    )


def _scores(ours: Results, backbone: Entry, other: str, entry: Entry) -> list[Cell]:
    """The three cells of a retention set."""
    found = scores_apart(ours, backbone, "slq", other, entry)
    if isinstance(found, Cell):
        return _cells(found, 1.0, one_decimal)
    apart, count = found
    return _cells(apart, *((count / 100, integer) if entry.counts_hits else (1.0, one_decimal)))


def _cells(found: Apart | Cell, unit: float, form: Format) -> list[Cell]:
    """Difference with interval, p, and what both say in a word; or why there is none."""
    if isinstance(found, Cell):
        return [found] * len(HEADS)
    (difference, source), signed = found, with_sign(form)
    value, low, high = (unit * number for number in (difference.value, difference.low, difference.high))
    return [
        Cell.measured(value, signed, source, comparable=False).between(low, high, signed),
        Cell.measured(difference.p, probability, source, comparable=False),
        Cell.word(verdict(difference), source),
    ]


def verdict(difference: Difference) -> str:
    """What may be said of SLQ."""
    if difference.p >= LEVEL:
        return "not told apart"
    return "SLQ higher" if difference.value > 0 else "SLQ lower"


def recalls_apart(
    ours: Results, backbone: Entry, one: str, other: str, entry: Entry
) -> dict[tuple[str, str], Apart] | Cell:
    """Recalls of one method minus another's by direction and R@K, or the missing cell of the first without ranks.

    Of several seeds the first is compared.

    Raises:
        SlqError: the two are not of the same images and captions, or a file that exists cannot be used.
    """
    mine, its = (ranked(ours, backbone.name, method, entry.name) for method in (one, other))
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
    mine, its = (judged(ours, backbone.name, method, entry.name) for method in (one, other))
    if isinstance(mine, Cell):
        return mine
    if isinstance(its, Cell):
        return its
    source = f"{mine.source}; {its.source}"
    try:
        return (accuracy_difference(mine.hits, its.hits, SEED), source), len(mine.hits)
    except SlqError as error:
        raise SlqError(f"{source}: {error}") from error
