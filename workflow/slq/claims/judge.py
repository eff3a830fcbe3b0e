"""The paper's sentences, judged on the results of one preset by the tests of claims.yaml."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from slq.claims.statement import Statement, read_statements
from slq.common.files import write_json
from slq.evaluation.statistics import Difference
from slq.reporting.costs import tuned
from slq.reporting.interval_tables import WAYS, ends
from slq.reporting.method_comparison import LEVEL, Apart, recalls_apart, scores_apart
from slq.results.cells import Cell, hours, integer, one_decimal, parameters, probability, quantity, with_sign
from slq.results.checks import VERDICTS, CheckResult, Evidence, Verdict
from slq.results.layout import METHODS, Entry, Layout, parse_layout
from slq.results.paper import Paper
from slq.results.records import Results, agreed, joined

SCHEMA = 1
Decide = Callable[[Difference], Verdict]


def judge_claims(settings: Mapping[str, Any], results: Path, reference: Path, out: Path) -> None:
    """Judge every claim of `reference`/claims.yaml on a preset's results; write the verdicts, and print them.

    Args:
        settings: what `parse_layout` reads; and, as `drawn`, the labels of the sets that are drawn here
        results: the folder that holds one folder per preset

    Raises:
        SlqError: a claim is not of its form, or a result file that exists cannot be used; nothing is written then.
    """
    layout, paper, drawn = parse_layout(settings), Paper(reference, results), settings["drawn"]
    statements = read_statements(reference / "claims.yaml", paper)
    judge = Judge(Results(results, layout), paper, drawn)
    answers = [(one, judge.result(one)) for one in statements]
    claims = [
        {
            **{"id": one.id, "sentence": one.sentence, "where": one.where, "test": dict(one.test)},
            **{"backbones": list(one.backbones), "verdict": result.verdict, "reason": result.reason},
            "evidence": [
                {"what": line.what, "value": line.value, "file": line.files, "verdict": line.verdict}
                for line in result.evidence
            ],
        }
        for one, result in answers
    ]
    content = {"schema": SCHEMA, "preset": layout.preset, "about": about(layout, drawn), "drawn": list(drawn)}
    write_json(out, content | {"claims": claims})
    print(f"{about(layout, drawn)}\n\n{verdict_table(answers)}")
    judge.ours.standing.say()


def about(layout: Layout, drawn: Sequence[str]) -> str:
    """What the verdicts are about: the paper's claims, or how the same tests read the same sentences on drawn data."""
    which = f"Preset {layout.preset}, {layout.which_seeds}"
    if not drawn:
        return f"{which}. Recalls and scores are compared on runs of the first seed, on the same images and questions."
    names = [f"{entry.label} for {entry.reference}" for entry in layout.backbones if entry.reference]
    who = f"{', '.join(names)} stand{'s' * (len(names) == 1)}" if names else "no backbone stands"
    return (
        f"{which}: {', '.join(drawn)} are drawn here, and {who} for the paper's backbones. The verdicts say that the "
        "machinery decides; about the paper's claims they say nothing."
    )


def verdict_table(answers: Sequence[tuple[Statement, CheckResult]]) -> str:
    """A line a sentence, aligned, and the number of each verdict."""
    verdicts = [result.verdict for _, result in answers]
    wide, name = max(map(len, verdicts)), max(len(one.id) for one, _ in answers)
    lines = [f"{result.verdict:<{wide}}  {one.id:<{name}}  {result.reason}" for one, result in answers]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS)
    return "\n".join([*lines, "", f"{len(verdicts)} claims: {counts}"])


# ---- what one number decides -----------------------------------------------------------------------------------------


def higher(difference: Difference, parts: int) -> Verdict:
    """Whether one is above the other. One of several parts may fail a claim by chance: they share the level."""
    if difference.value > 0 and difference.p < LEVEL:
        return "supported"
    return "contradicted" if difference.value < 0 and difference.p < LEVEL / parts else "undecided"


def same(difference: Difference, within: float, parts: int) -> Verdict:
    """Whether two are within so many points of percent of each other, wherever in its interval the difference is."""
    if -within <= difference.low and difference.high <= within:
        return "supported"
    return "contradicted" if difference.p < LEVEL / parts else "undecided"


def above(low: float, high: float, number: float) -> Verdict:
    """Whether an interval lies above a published number."""
    if low > number:
        return "supported"
    return "contradicted" if high < number else "undecided"


def summary(result: CheckResult) -> str:
    """How many numbers decide it as they do, and the first of them; where none is there, why the first is not."""
    parts, verdict = result.evidence, result.verdict
    if verdict == "not tested":
        return f"Not run: {parts[0].value}."
    counts = Counter(part.verdict for part in parts)
    shown = verdict if counts[verdict] else next(one for one in VERDICTS if counts[one])
    first = next(part for part in parts if part.verdict == shown)
    said = ", ".join(f"{counts[one]} {one}" for one in VERDICTS if counts[one])
    number = f"{first.what}: {first.value}."
    return number if len(parts) == 1 else f"Numbers: {said}. {number}"


class Judge:
    """Decides statements on the results of one preset; a difference that several need is counted once.

    drawn: the labels of the sets that are drawn here, and say nothing about the paper
    """

    def __init__(self, ours: Results, paper: Paper, drawn: Sequence[str]) -> None:
        self.ours, self.paper, self.drawn = ours, paper, drawn
        self.recalls = cache(lambda *place: recalls_apart(ours, *place))
        self.scores = cache(lambda *place: scores_apart(ours, *place))

    def result(self, statement: Statement) -> CheckResult:
        """Why a statement holds or not; errors as in `parts`."""
        if statement.kind == "none":
            return CheckResult(f"It needs {statement.test['needs']}.")
        found = CheckResult("", tuple(self.parts(statement)))
        on_drawn = "On drawn data. " if self.drawn and found.verdict != "not tested" else ""
        return CheckResult(on_drawn + summary(found), found.evidence)

    def parts(self, statement: Statement) -> list[Evidence]:
        """A line for every number that the test names, there or not.

        Raises:
            SlqError: a file that exists cannot be used.
        """
        match statement.kind:
            case "higher" | "same":
                return list(self._apart(statement))
            case "above":
                return list(self._above(statement))
        return [one for named in statement.backbones for one in self._fraction(named, statement.test)]

    def _lines(
        self, statement: Statement, named: Mapping[str, Any], measure: Callable[[str, Entry, Entry, Any], Evidence]
    ) -> Iterator[Evidence]:
        """Measure what stands for each backbone and column of a test, by every name; or say what the preset lacks."""
        layout = self.ours.layout
        for wanted in statement.backbones:
            backbones = [one for one in layout.backbones if one.reference == wanted]
            for column in statement.test["sets"]:
                sets = [one for one in (*layout.retrieval_sets, *layout.retention_sets) if one.reference == column]
                for backbone, entry, (name, key) in product(backbones, sets, named.items()):
                    yield measure(f"{backbone.label}, {entry.label}{name}", backbone, entry, key)
                if not backbones or not sets:
                    why = self._nothing(column if backbones else wanted)
                    yield from (Evidence(f"{wanted}, {column}{name}", why, "not tested") for name in named)

    def _nothing(self, named: str) -> str:
        return f"preset {self.ours.layout.preset} has nothing that stands for {named}"

    # ---- a method against another ------------------------------------------------------------------------------------

    def _apart(self, statement: Statement) -> Iterator[Evidence]:
        test = statement.test
        one, other, metrics = test["of"], test.get("than") or test["as"], test.get("metrics", [""])
        count = len(statement.backbones) * len(test["sets"]) * len(metrics)
        decide = partial(same, within=test["within"], parts=count) if "within" in test else partial(higher, parts=count)
        named = {f"{shown(metric)}, {METHODS[one]} minus {METHODS[other]}": metric for metric in metrics}
        return self._lines(statement, named, partial(self._difference, one, other, decide))

    def _difference(
        self, one: str, other: str, decide: Decide, what: str, backbone: Entry, entry: Entry, metric: str
    ) -> Evidence:
        if metric:
            recalls = self.recalls(backbone, one, other, entry)
            if isinstance(recalls, Cell):
                return Evidence(what, recalls.source, "not tested")
            way, recall = metric.split(" ")
            return _counted(what, recalls[way, recall], 1.0, False, decide)
        scored = self.scores(backbone, one, other, entry)
        if isinstance(scored, Cell):
            return Evidence(what, scored.source, "not tested")
        apart, count = scored
        return _counted(what, apart, count / 100 if entry.counts_hits else 1.0, entry.counts_hits, decide)

    # ---- a method against the published number of another model ------------------------------------------------------

    def _above(self, statement: Statement) -> Iterator[Evidence]:
        test = statement.test
        named = {
            f"{shown(metric)}, {METHODS[test['of']]} beside {model}": (model, metric)
            for model in test["models"]
            for metric in test["metrics"]
        }
        return self._lines(statement, named, partial(self._beside, test["of"]))

    def _beside(self, method: str, what: str, backbone: Entry, entry: Entry, quoted: tuple[str, str]) -> Evidence:
        """A recall beside a quoted one, by model and metric, which must be of the same set."""
        if not entry.is_the_papers:
            return Evidence(what, f"{entry.label} is another set than the paper's {entry.reference}", "not tested")
        model, metric = quoted
        name, (way, recall) = f"retrieval/{entry.name}.json", metric.split(" ")
        record = self.ours.find(backbone.name, method, self.ours.layout.compared_seed(method), name)
        if record is None:
            return Evidence(what, self.ours.missing(backbone.name, method, name).source, "not tested")
        quote = self.paper.recall(model, entry.reference, metric)
        assert quote is not None  # read_statements has seen to it
        value, (low, high) = record.number("metrics", way, recall), ends(record, way, recall)
        text = f"{value:.1f} [{low:.1f}, {high:.1f}] against {quote.value}"
        return Evidence(what, text, above(low, high, float(quote.value)), f"{record.source}; {quote.source}")

    # ---- what a method costs -----------------------------------------------------------------------------------------

    def _fraction(self, named: str, test: Mapping[str, Any]) -> Iterator[Evidence]:
        standing = [entry for entry in self.ours.layout.backbones if entry.reference == named]
        one, other = test["of"], test["than"]
        measure = self._hours if test["what"] == "hours" else self._parameters
        for backbone in standing:
            what = f"{backbone.label}, {test['what']} of {METHODS[one]} over those of {METHODS[other]}"
            yield measure(what, backbone, one, other, test["at_most"])
        if not standing:
            yield Evidence(named, self._nothing(named), "not tested")

    def _hours(self, what: str, backbone: Entry, one: str, other: str, at_most: float) -> Evidence:
        """Means over the seeds, of hours of one device alone."""
        costs = tuned(self.ours, backbone)
        for method in (one, other):
            if not costs.get(method):
                return Evidence(what, self.ours.missing(backbone.name, method, "run.json").source, "not tested")
        spent = [*costs[one], *costs[other]]
        files = joined([cost.run for cost in spent])
        if len({cost.device for cost in spent}) > 1:
            return Evidence(what, "not hours of one device", "not tested", files)
        mine, its = (mean(cost.training for cost in costs[method]) for method in (one, other))
        return _share(what, mine, its, at_most, hours, files)

    def _parameters(self, what: str, backbone: Entry, one: str, other: str, at_most: float) -> Evidence:
        runs = {method: self.ours.runs(backbone.name, method) for method in (one, other)}
        mine, its = (agreed(runs[method], "parameters", "trainable") for method in (one, other))
        if mine is None or its is None:
            absent = one if mine is None else other
            return Evidence(what, self.ours.missing(backbone.name, absent, "run.json").source, "not tested")
        return _share(what, mine, its, at_most, parameters, joined([*runs[one], *runs[other]]))


def shown(metric: str) -> str:
    """` T2I R@5` for `t2i R@5`, behind the name of a set; nothing for a score."""
    way, _, recall = metric.partition(" ")
    return f" {WAYS[way]} {recall}" if metric else ""


def _counted(what: str, apart: Apart, unit: float, hits: bool, decide: Decide) -> Evidence:
    """A paired difference, in points of percent or in hits."""
    difference, files = apart
    signed = with_sign(integer if hits else one_decimal)
    value, low, high = (signed(unit * number) for number in (difference.value, difference.low, difference.high))
    return Evidence(what, f"{value} [{low}, {high}], p {probability(difference.p)}", decide(difference), files)


def _share(what: str, one: float, other: float, at_most: float, form: Callable[[float], str], files: str) -> Evidence:
    if not other:
        return Evidence(what, "nothing to divide by", "not tested", files)
    text = f"{form(one)} / {form(other)} = {quantity(one / other)}, asked at most {at_most:g}"
    return Evidence(what, text, "supported" if one / other <= at_most else "contradicted", files)
