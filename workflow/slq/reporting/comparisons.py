"""SLQ against the other tuned methods, benchmark by benchmark, on the same images and questions; the claims ask too."""

from slq.errors import SlqError
from slq.evaluation.intervals import SEED, Difference, accuracy_difference, clusters, recall_differences
from slq.reporting.cells import Cell, Format, integer, one_decimal, probability, with_sign
from slq.reporting.evidence import judged, ranked
from slq.reporting.grid import Column, Group, Row, Table
from slq.reporting.intervals import RECALLS, WAYS, recall_rows
from slq.reporting.layout import METHODS, Entry
from slq.reporting.notes import one_run, runs_shown
from slq.reporting.records import Results

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
        groups=tuple(_group(ours, backbone) for backbone in ours.layout.backbones),
        notes=(HOW, *one_run(ours, SEEDS)),
        widths=(5.4, 2.9),
    )


def _group(ours: Results, backbone: Entry) -> Group:
    rows: list[Row] = []
    for entry in ours.layout.retrieval_sets:
        compared = [_recalls(ours, backbone, other, entry) for other in OTHERS]
        for key, label, way, recall in recall_rows(entry):
            cells = [cell for found in compared for cell in found[way, recall]]
            rows.append(Row(f"{backbone.name}/{key}", label, tuple(cells)))
    for entry in ours.layout.retention_sets:
        cells = [cell for other in OTHERS for cell in _scores(ours, backbone, other, entry)]
        rows.append(Row(f"{backbone.name}/{entry.name}", entry.label, tuple(cells)))
    return Group(backbone.name, backbone.label, tuple(rows))


def _recalls(ours: Results, backbone: Entry, other: str, entry: Entry) -> dict[tuple[str, str], list[Cell]]:
    """The three cells of each direction and recall of a set."""
    found = recalls_apart(ours, backbone, "slq", other, entry)
    if isinstance(found, Cell):
        return {(way, recall): [found] * len(HEADS) for way in WAYS for recall in RECALLS}
    return {key: _cells(difference, 1.0, one_decimal, source) for key, (difference, source) in found.items()}


def _scores(ours: Results, backbone: Entry, other: str, entry: Entry) -> list[Cell]:
    """The three cells of a retention set."""
    found = scores_apart(ours, backbone, "slq", other, entry)
    if isinstance(found, Cell):
        return [found] * len(HEADS)
    (difference, source), count = found
    unit, form = (count / 100, integer) if entry.counts_hits else (1.0, one_decimal)
    return _cells(difference, unit, form, source)


def _cells(difference: Difference, unit: float, form: Format, source: str) -> list[Cell]:
    """Difference with interval, p, and what both say in a word."""
    signed = with_sign(form)
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
