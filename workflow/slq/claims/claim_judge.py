"""Judge of claims on one preset's results, which collects a line of evidence for every number that a test names."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import product
from statistics import mean
from typing import Any, NamedTuple

from slq.claims.claim import Claim
from slq.evaluation.seed_differences import MIN_SEEDS
from slq.evaluation.statistics import Difference
from slq.methods.registry import BASE
from slq.reporting.interval_tables import DIRECTION_LABELS, SCORE, recall_cell
from slq.reporting.method_comparison import SIGNIFICANCE_LEVEL, compare_methods
from slq.results.cells import (
    FORMATTERS,
    TableCell,
    format_p_value,
    format_significant_digits,
    join_sources,
    with_numbers,
)
from slq.results.checks import THIS_RUN_ONLY, VERDICTS, CheckResult, Evidence, Verdict
from slq.results.layout import LayoutEntry
from slq.results.load import Results
from slq.results.paper import Paper


class Answer(NamedTuple):
    """The attributes of a line of evidence without its subject."""

    value: str
    verdict: Verdict
    files: str = ""
    this_run: Verdict | None = None

    @classmethod
    def over_seeds(cls, value: str, verdict: Verdict, files: str, decides: bool) -> "Answer":
        """Build the answer of a comparison, which is undecided if there are too few seeds to decide."""
        if decides:
            return cls(value, verdict, files)
        return cls(f"{value}; {THIS_RUN_ONLY}: {verdict}", "undecided", files, verdict)


def decide_higher(difference: Difference, parts: int) -> Verdict:
    """Decide whether one method is above the other.

    A claim with several parts may fail in one part by chance. The significance level of a contradiction is therefore
    divided by `parts` (Bonferroni).
    """
    if difference.value > 0 and difference.p < SIGNIFICANCE_LEVEL:
        return "supported"
    return "contradicted" if difference.value < 0 and difference.p < SIGNIFICANCE_LEVEL / parts else "undecided"


def decide_same(difference: Difference, within: float, parts: int) -> Verdict:
    """Decide whether the whole 95 % interval of a difference lies within ±`within` percentage points.

    The significance level of a contradiction is divided by `parts`, as in `decide_higher`.
    """
    if -within <= difference.low and difference.high <= within:
        return "supported"
    return "contradicted" if difference.p < SIGNIFICANCE_LEVEL / parts else "undecided"


def decide_above(low: float, high: float, number: float) -> Verdict:
    """Decide whether a confidence interval lies entirely above a published number."""
    if low > number:
        return "supported"
    return "contradicted" if high < number else "undecided"


def summarize(result: CheckResult) -> str:
    """Summarise how many numbers have each verdict, and show the first number with the deciding verdict.

    If no number could be tested, give the reason for the first number.
    """
    evidence, verdict = result.evidence, result.verdict
    if verdict == "not tested":
        return f"Not run: {evidence[0].value}."
    counts = Counter(part.verdict for part in evidence)
    example_verdict = verdict if counts[verdict] else next(one for one in VERDICTS if counts[one])
    first = next(part for part in evidence if part.verdict == example_verdict)
    counts_text = ", ".join(f"{counts[one]} {one}" for one in VERDICTS if counts[one])
    first_text = f"{first.subject}: {first.value}."
    return first_text if len(evidence) == 1 else f"Numbers: {counts_text}. {first_text}"


class ClaimJudge:
    """A judge of claims on the results of one preset; a difference that several claims need is computed once.

    Attributes:
        results: the results of the preset
        paper: the paper's numbers
        synthetic_labels: labels of the synthetic datasets, whose results are not evidence about the paper
        compare: the cached comparison of two methods on a backbone and a dataset
    """

    def __init__(self, results: Results, paper: Paper, synthetic_labels: Sequence[str]) -> None:
        """Set up the judge, with a cache of comparisons."""
        self.results, self.paper, self.synthetic_labels = results, paper, synthetic_labels
        self.compare = cache(partial(compare_methods, results))

    def judge_claim(self, claim: Claim) -> CheckResult:
        """Judge whether a claim holds, and give the reason."""
        if claim.kind == "none":
            return CheckResult(f"It needs {claim.test['needs']}.")
        found = CheckResult("", tuple(self.collect_evidence(claim)))
        prefix = "On synthetic data. " if self.synthetic_labels and found.verdict != "not tested" else ""
        return CheckResult(prefix + summarize(found), found.evidence)

    def collect_evidence(self, claim: Claim) -> list[Evidence]:
        """Collect a line for every number that the test names, whether the number exists or not."""
        if claim.kind == "fraction":
            return [line for backbone in claim.backbones for line in self._compare_costs(backbone, claim.test)]
        return list(self._compare_numbers(claim))

    def _compare_numbers(self, claim: Claim) -> Iterator[Evidence]:
        """Yield a line for every backbone, dataset and number of a test; if the preset lacks one, the line says so."""
        layout, test = self.results.layout, claim.test
        numbers = [*product(test.get("models", [""]), test.get("metrics", [""]))]
        for paper_backbone, paper_dataset in product(claim.backbones, test["datasets"]):
            backbones = [one for one in layout.backbones if one.paper_name == paper_backbone]
            all_datasets = (*layout.retrieval_datasets, *layout.retention_datasets)
            datasets = [one for one in all_datasets if one.paper_name == paper_dataset]
            for backbone, dataset, (model, metric) in product(backbones, datasets, numbers):
                subject = f"{backbone.label}, {dataset.label}{self._describe_number(test, model, metric)}"
                if claim.kind == "above":
                    answer = self._measure_against_published(test["of"], model, metric, backbone, dataset)
                else:
                    answer = self._measure_difference(claim, metric, backbone, dataset)
                yield Evidence(subject, **answer._asdict())
            if not backbones or not datasets:
                reason = self._missing_stand_in_reason(paper_dataset if backbones else paper_backbone)
                for number in numbers:
                    subject = f"{paper_backbone}, {paper_dataset}{self._describe_number(test, *number)}"
                    yield Evidence(subject, reason, "not tested")

    def _describe_number(self, test: Mapping[str, Any], model: str, metric: str) -> str:
        """Return the end of a subject, after the dataset's name: the recall, and the two methods or models compared."""
        direction, _, recall = metric.partition(" ")
        labels, recall = self.results.layout.labels, f" {DIRECTION_LABELS[direction]} {recall}" if metric else ""
        other = f" beside {model}" if model else f" minus {labels[test.get('than') or test['as']]}"
        return f"{recall}, {labels[test['of']]}{other}"

    def _missing_stand_in_reason(self, paper_name: str) -> str:
        """Return the reason for a number of a backbone or dataset of the paper that the preset has no entry for."""
        return f"preset {self.results.layout.preset} has nothing that stands for {paper_name}"

    def _measure_difference(self, claim: Claim, metric: str, backbone: LayoutEntry, dataset: LayoutEntry) -> Answer:
        """Measure the paired difference between two methods in a recall, or in a score if `metric` is empty."""
        test = claim.test
        pairs = self.compare(backbone, test["of"], test.get("than") or test["as"], dataset)
        if isinstance(pairs, TableCell):
            return Answer(pairs.source, "not tested")
        direction, recall = metric.split(" ") if metric else SCORE
        pair, parts = pairs[direction, recall], len(claim.backbones) * len(test["datasets"])
        parts *= len(test.get("metrics", [""]))
        decide = partial(decide_same, within=test["within"]) if claim.kind == "same" else decide_higher
        value, low, high = pair.printed()
        text = f"{value} [{low}, {high}], p {format_p_value(pair.difference.p)}"
        return Answer.over_seeds(text, decide(pair.difference, parts=parts), pair.source, pair.difference.decides)

    def _measure_against_published(
        self, method: str, model: str, metric: str, backbone: LayoutEntry, dataset: LayoutEntry
    ) -> Answer:
        """Measure a recall against the published recall of a model, which must be on the same dataset."""
        if not dataset.is_from_paper:
            return Answer(f"{dataset.label} is another dataset than the paper's {dataset.paper_name}", "not tested")
        direction, recall = metric.split(" ")
        cell = recall_cell(self.results, backbone.name, method, dataset.name, recall, direction)
        if cell.low is None or cell.high is None:
            return Answer(cell.source, "not tested")
        quote = self.paper.find("table1", model, f"{dataset.paper_name} {metric}")
        text = f"{cell.value:.1f} [{cell.low:.1f}, {cell.high:.1f}] against {quote.printed}"
        decides, files = method == BASE or (cell.n or 0) >= MIN_SEEDS, f"{cell.source}; {quote.source}"
        return Answer.over_seeds(text, decide_above(cell.low, cell.high, quote.value), files, decides)

    def _compare_costs(self, paper_backbone: str, test: Mapping[str, Any]) -> Iterator[Evidence]:
        """Yield the lines of a test of one method's cost against another's."""
        backbones = [entry for entry in self.results.layout.backbones if entry.paper_name == paper_backbone]
        methods = (test["of"], test["than"])
        labels = " over those of ".join(self.results.layout.labels[method] for method in methods)
        for backbone in backbones:
            subject = f"{backbone.label}, {test['what']} of {labels}"
            answer = self._measure_cost_ratio(backbone.name, methods, test["what"], test["at_most"])
            yield Evidence(subject, **answer._asdict())
        if not backbones:
            yield Evidence(paper_backbone, self._missing_stand_in_reason(paper_backbone), "not tested")

    def _measure_cost_ratio(self, backbone: str, methods: tuple[str, str], metric: str, at_most: float) -> Answer:
        """Measure the ratio of two methods' hours or trained parameters, each a mean over the seeds.

        All hours must have been measured on the same device.
        """
        found = [with_numbers(self.results.rows(backbone, method, "run", "", metric)) for method in methods]
        for method, rows in zip(methods, found, strict=True):
            if not rows:
                return Answer(self.results.cell(backbone, method, "run", "", metric).source, "not tested")
        files = join_sources([*found[0], *found[1]])
        if len({row.device for rows in found for row in rows}) > 1:
            return Answer("not hours of one device", "not tested", files)
        one, other = (mean(row.value for row in rows) for rows in found)
        if not other:
            return Answer("nothing to divide by", "not tested", files)
        ratio, formatter = one / other, FORMATTERS[metric]
        text = f"{formatter(one)} / {formatter(other)} = {format_significant_digits(ratio)}, asked at most {at_most:g}"
        return Answer(text, "supported" if ratio <= at_most else "contradicted", files)
