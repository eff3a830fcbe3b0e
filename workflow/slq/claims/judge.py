"""The tests of `claims.schema.yaml`, each on the numbers that it names."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from statistics import mean
from typing import Any

from slq.claims import part
from slq.claims.part import Part, Verdict
from slq.claims.statement import Statement
from slq.evaluation.intervals import Difference
from slq.reporting.cells import Cell, hours, integer, one_decimal, parameters, probability, quantity, with_sign
from slq.reporting.comparisons import Apart, recalls_apart, scores_apart
from slq.reporting.costs import tuned
from slq.reporting.intervals import WAYS, ends
from slq.reporting.layout import METHODS, Entry
from slq.reporting.records import Reference, Results, agreed, joined

Decide = Callable[[Difference], Verdict]


class Judge:
    """Decides statements on the results of one preset; a difference that several need is counted once."""

    def __init__(self, ours: Results, papers: Reference) -> None:
        self.ours, self.papers = ours, papers
        self.recalls = cache(lambda *place: recalls_apart(ours, *place))
        self.scores = cache(lambda *place: scores_apart(ours, *place))

    def parts(self, statement: Statement) -> list[Part]:
        """A part for every number that the test names, there or not; none where nothing here decides.

        Raises:
            SlqError: a file that exists cannot be used.
        """
        test = statement.test
        match statement.kind:
            case "higher" | "same":
                return list(self._apart(statement, test["of"], test.get("than") or test["as"]))
            case "above":
                return list(self._above(statement))
            case "fraction":
                return [one for named in statement.backbones for one in self._fraction(named, test)]
        return []

    # ---- a method against another ------------------------------------------------------------------------------------

    def _apart(self, statement: Statement, one: str, other: str) -> Iterator[Part]:
        metrics = statement.test.get("metrics", [""])
        count = len(statement.backbones) * len(statement.test["sets"]) * len(metrics)

        def decide(difference: Difference) -> Verdict:
            if statement.kind == "same":
                return part.same(difference, statement.test["within"], count)
            return part.higher(difference, count)

        versus = f"{METHODS[one]} minus {METHODS[other]}"
        for place, found in self._places(statement):
            for metric in metrics:
                what = f"{place} {shown(metric)}".rstrip() + f", {versus}"
                if isinstance(found, str):
                    yield Part(what, found, "not tested")
                else:
                    yield self._difference(what, (found[0], one, other, found[1]), metric, decide)

    def _difference(self, what: str, place: tuple[Entry, str, str, Entry], metric: str, decide: Decide) -> Part:
        entry = place[-1]
        if metric:
            recalls = self.recalls(*place)
            if isinstance(recalls, Cell):
                return Part(what, recalls.source, "not tested")
            way, recall = metric.split(" ")
            return _counted(what, recalls[way, recall], 1.0, False, decide)
        scored = self.scores(*place)
        if isinstance(scored, Cell):
            return Part(what, scored.source, "not tested")
        apart, count = scored
        return _counted(what, apart, count / 100 if entry.counts_hits else 1.0, entry.counts_hits, decide)

    # ---- a method against the published number of another model ------------------------------------------------------

    def _above(self, statement: Statement) -> Iterator[Part]:
        for place, found in self._places(statement):
            for model in statement.test["models"]:
                for metric in statement.test["metrics"]:
                    what = f"{place} {shown(metric)}, {METHODS[statement.test['of']]} beside {model}"
                    if isinstance(found, str):
                        yield Part(what, found, "not tested")
                    else:
                        yield self._beside(what, statement.test["of"], *found, model, metric)

    def _beside(self, what: str, method: str, backbone: Entry, entry: Entry, model: str, metric: str) -> Part:
        """A recall beside a quoted one, which must be of the same set."""
        if not entry.is_the_papers:
            return Part(what, f"{entry.label} is another set than the paper's {entry.reference}", "not tested")
        name, (way, recall) = f"retrieval/{entry.name}.json", metric.split(" ")
        record = self.ours.find(backbone.name, method, self.ours.layout.compared_seed(method), name)
        if record is None:
            return Part(what, self.ours.missing(backbone.name, method, name).source, "not tested")
        quote = self.papers.table1[model, entry.reference, way, recall]
        assert quote.value is not None  # read_statements has seen to it
        value, (low, high) = record.number("metrics", way, recall), ends(record, way, recall)
        text = f"{value:.1f} [{low:.1f}, {high:.1f}] against {quote.printed}"
        return Part(what, text, part.above(low, high, quote.value), f"{record.source}; {quote.source}")

    # ---- what a method costs -----------------------------------------------------------------------------------------

    def _fraction(self, named: str, test: Mapping[str, Any]) -> Iterator[Part]:
        standing = [entry for entry in self.ours.layout.backbones if entry.reference == named]
        one, other = test["of"], test["than"]
        measure = self._hours if test["what"] == "hours" else self._parameters
        for backbone in standing:
            what = f"{backbone.label}, {test['what']} of {METHODS[one]} over those of {METHODS[other]}"
            yield measure(what, backbone, one, other, test["at_most"])
        if not standing:
            yield Part(named, self._nothing(named), "not tested")

    def _hours(self, what: str, backbone: Entry, one: str, other: str, at_most: float) -> Part:
        """Means over the seeds, of hours of one device alone."""
        costs = tuned(self.ours, backbone)
        for method in (one, other):
            if not costs.get(method):
                return Part(what, self.ours.missing(backbone.name, method, "run.json").source, "not tested")
        spent = [*costs[one], *costs[other]]
        files = joined([cost.run for cost in spent])
        if len({cost.device for cost in spent}) > 1:
            return Part(what, "not hours of one device", "not tested", files)
        mine, its = (mean(cost.training for cost in costs[method]) for method in (one, other))
        return _share(what, mine, its, at_most, hours, files)

    def _parameters(self, what: str, backbone: Entry, one: str, other: str, at_most: float) -> Part:
        runs = {method: self.ours.runs(backbone.name, method) for method in (one, other)}
        mine, its = (agreed(runs[method], "parameters", "trainable") for method in (one, other))
        if mine is None or its is None:
            absent = one if mine is None else other
            return Part(what, self.ours.missing(backbone.name, absent, "run.json").source, "not tested")
        return _share(what, mine, its, at_most, parameters, joined([*runs[one], *runs[other]]))

    # ---- what is not there -------------------------------------------------------------------------------------------

    def _places(self, statement: Statement) -> Iterator[tuple[str, tuple[Entry, Entry] | str]]:
        """Each backbone and column of a test in words, and what stands for them, or what the preset lacks."""
        layout = self.ours.layout
        for named in statement.backbones:
            backbones = [one for one in layout.backbones if one.reference == named]
            for column in statement.test["sets"]:
                sets = [one for one in (*layout.retrieval_sets, *layout.retention_sets) if one.reference == column]
                yield from ((f"{one.label}, {entry.label}", (one, entry)) for one in backbones for entry in sets)
                if not backbones or not sets:
                    yield f"{named}, {column}", self._nothing(column if backbones else named)

    def _nothing(self, named: str) -> str:
        return f"preset {self.ours.layout.preset} has nothing that stands for {named}"


def shown(metric: str) -> str:
    """`T2I R@5` for `t2i R@5`."""
    way, _, recall = metric.partition(" ")
    return f"{WAYS[way]} {recall}" if metric else ""


def _counted(what: str, apart: Apart, unit: float, hits: bool, decide: Decide) -> Part:
    """A paired difference, in points of percent or in hits."""
    difference, files = apart
    signed = with_sign(integer if hits else one_decimal)
    value, low, high = (signed(unit * number) for number in (difference.value, difference.low, difference.high))
    return Part(what, f"{value} [{low}, {high}], p {probability(difference.p)}", decide(difference), files)


def _share(what: str, one: float, other: float, at_most: float, form: Callable[[float], str], files: str) -> Part:
    if not other:
        return Part(what, "nothing to divide by", "not tested", files)
    text = f"{form(one)} / {form(other)} = {quantity(one / other)}, asked at most {at_most:g}"
    return Part(what, text, "supported" if one / other <= at_most else "contradicted", files)
