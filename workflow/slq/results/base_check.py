"""Scores of the untouched backbones compared with published ones, before anything is called forgetting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from slq.evaluation.metrics_files import ANSWERS_SUFFIX, read_scored_answers, sibling_path
from slq.evaluation.statistics import accuracy_interval
from slq.methods.registry import BASE
from slq.results.cells import EMPTY_STATES, format_integer, format_one_decimal, with_sign
from slq.results.layout import LayoutEntry
from slq.results.load import Results
from slq.results.paper import Paper

STAND_IN = "stand-in"


@dataclass(frozen=True)
class BaseScore:
    """The score of an untouched backbone on one retention dataset, and the published one, in the published unit.

    Attributes:
        backbone, dataset: their labels
        state: whether the published score lies within the 95 % Wilson interval of ours
        reason: why it is not tested
        published, published_source: the published score and where it stands; None and empty if there is none
        measured, low, high: our score by the printed scorer, with its interval; None if it was not measured
        source: our file
        scorer, other_scores: the printed scorer, and the scores of the same answers by all other scorers
        prompt: the first question's prompt, rendered with the chat template; empty if its answers are not here
        decimals: decimals of a printed score
    """

    backbone: str
    dataset: str
    state: Literal["within", "off", "not tested"]
    reason: str = ""
    published: float | None = None
    published_source: str = ""
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    source: str = ""
    scorer: str = ""
    other_scores: dict[str, float] = field(default_factory=dict)
    prompt: str = ""
    decimals: int = 1

    @property
    def is_relative(self) -> bool:
        """Whether changes of this score are relative to our base only, as the published one was not met."""
        return self.state == "off" or (self.state == "not tested" and not self.reason.startswith(STAND_IN))

    @property
    def deviation(self) -> str:
        """Our score minus the published one as printed, or `not tested`."""
        if self.measured is None or self.published is None:
            return "not tested"
        form = format_one_decimal if self.decimals else format_integer
        return with_sign(form)(self.measured - self.published)


def compare_base_scores(results: Results, paper: Paper) -> list[BaseScore]:
    """Compare base's score on each retention dataset of a layout with the published one, by backbone."""
    layout = results.layout
    return [_compare(results, paper, one, dataset) for one in layout.backbones for dataset in layout.retention_datasets]


def _compare(results: Results, paper: Paper, backbone: LayoutEntry, dataset: LayoutEntry) -> BaseScore:
    """Compare base's score on one dataset with the published one."""
    found = BaseScore(backbone.label, dataset.label, "not tested", decimals=0 if dataset.is_scored_in_hits else 1)
    stand_ins = [one.label for one in (backbone, dataset) if not one.is_from_paper]
    if stand_ins:
        return replace(found, reason=f"{STAND_IN}: no score of {' or '.join(stand_ins)} is published")
    number = paper.find("base_scores", f"{backbone.name}/{BASE}", dataset.paper_name)
    if number is None or number.value is None:
        return replace(found, reason=f"no score of {backbone.label} on {dataset.label} in base_scores.csv")
    found = replace(found, published=number.value, published_source=f"{number.cited} ({number.source})")
    rows = results.rows(backbone.name, BASE, "retention", dataset.name, "score")
    if not rows or rows[0].state in EMPTY_STATES:
        return replace(found, reason=rows[0].reason if rows else f"preset {results.layout.preset} does not run base")
    return _with_measurement(found, number.value, rows[0], dataset)


def _with_measurement(found: BaseScore, published: float, row: Any, dataset: LayoutEntry) -> BaseScore:
    """Add our score, its interval, the other scorers' scores and the prompt."""
    record, count = row.record, int(row.record.number("n", "items"))
    interval = accuracy_interval(round(record.number("metrics", "accuracy") * count / 100), count)
    scale, scorer = count / 100 if dataset.is_scored_in_hits else 1.0, record.text("scorer")
    low, high = scale * interval.low, scale * interval.high
    has_answers = sibling_path(record.path, ANSWERS_SUFFIX).exists()
    return replace(
        found,
        state="within" if low <= published <= high else "off",
        measured=row.value,
        low=low,
        high=high,
        source=row.source,
        scorer=scorer,
        other_scores={name: value for name, value in record.value("scores").items() if name != scorer},
        prompt=read_scored_answers(record.path).items[0]["prompt"] if has_answers else "",
    )


def relative_note(scores: Iterable[BaseScore], backbones: Sequence[str] = ()) -> str:
    """Write the sentence that changes of scores are relative to our base only; empty if base met all published scores.

    Args:
        backbones: labels of the backbones that it is about; all if empty
    """
    unmet: dict[str, list[str]] = {}
    for score in scores:
        if score.is_relative and (not backbones or score.backbone in backbones):
            unmet.setdefault(score.backbone, []).append(f"{score.dataset} ({score.deviation})")
    if not unmet:
        return ""
    listed = "; ".join(f"{backbone} on {', '.join(names)}" for backbone, names in unmet.items())
    return f"Changes of scores are relative to our base only, as published scores were not met: {listed}."
