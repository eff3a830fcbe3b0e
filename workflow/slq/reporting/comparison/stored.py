"""The numbers of a preset's folder of results."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from slq.common.errors import SlqError
from slq.common.files import digest
from slq.cost.hours import device_hours
from slq.evaluation.retention_metrics import COUNTED
from slq.evaluation.statistics import Clusters, accuracy_interval, by_question, clusters
from slq.evaluation.stored_metrics import RANKED, beside, read_ranks
from slq.reporting.comparison.numbers import TRAINING, Catalogue, Key, Number, Numbers, Sample
from slq.reporting.comparison.sources import RUNS
from slq.reporting.interval_tables import RECALLS, WAYS, ends
from slq.reporting.notes import find_audit, leaked
from slq.results.cells import hours, integer, one_decimal, parameters
from slq.results.evidence import Judged, judged
from slq.results.layout import Entry, Layout
from slq.results.records import ROWS, Record, Results, relative

SHOWN = 12  # letters of a hash
MADE = ("ranks", "answers")  # hashes in a metrics file that are of what came out, and not of what went in


class Stored:
    """Results under a preset's folder, as far as they are there and whatever the configuration asks for."""

    def __init__(self, folder: Path, place: str, catalogue: Catalogue) -> None:
        """`place` names the folder in messages."""
        self.folder, self.place = folder, place
        self.rows = _rows(folder)  # systems that are no runs, by name
        self.results = Results(folder.parent, _layout(folder, catalogue), with_stale=True)

    @property
    def methods(self) -> list[tuple[Entry, str]]:
        """Every backbone with every method."""
        layout = self.results.layout
        return [(backbone, method) for backbone in layout.backbones for method in layout.methods]

    def files(self, records: Iterable[Record]) -> tuple[str, ...]:
        """The files behind records, each once, named as the source was."""
        sources = [source for record in records for source in record.source.split("; ")]
        return tuple(dict.fromkeys(map(self._named, sources)))

    def stale(self, records: Iterable[Record]) -> str:
        """Which of them are not what their ranks or answers give, and why."""
        return "; ".join(dict.fromkeys(self._named(record.stale) for record in records if record.stale))

    def notices(self) -> list[str]:
        """What is to be said of the files that were read, each named as the source was."""
        inside = relative(self.folder, self.results.root)
        return [line.replace(f"{inside}/", f"{self.place}/") for line in self.results.standing.notices()]

    def _named(self, source: str) -> str:
        return self.place + source.removeprefix(relative(self.folder, self.results.root))

    def runs(self, backbone: str, method: str) -> list[Record]:
        """`run.json` of every seed; without a look at the folder's name, which a copy may have changed."""
        return self.results.over_seeds(backbone, method, "run.json")

    def numbers(self) -> Numbers:
        """Every recall, score, number of parameters and training hours.

        Raises:
            SlqError: a file that exists cannot be used, or is of another schema.
        """
        layout = self.results.layout
        found: Numbers = {}
        for backbone, method in self.methods:
            found |= self._costs(backbone, method)
            for entry in layout.retrieval_sets:
                found |= self._recalls(backbone, method, entry)
            for entry in layout.retention_sets:
                found |= self._score(backbone, method, entry)
        for row in self.rows:
            for entry in layout.retrieval_sets:
                found |= self._row_recalls(row, entry)
        return found

    def _costs(self, backbone: Entry, method: str) -> Numbers:
        runs = self.runs(backbone.name, method)
        if not runs or method == "base":
            return {}
        files, named = self.files(runs), {"backbone": backbone.name}
        trained = tuple(run.number("parameters", "trainable") for run in runs)
        found = {"parameters": Number(trained, "parameters", parameters, files, traits=named)}
        if all(run.at("device") for run in runs):
            devices = sorted({f"{run.text('device', 'name')} x {run.number('device', 'count'):g}" for run in runs})
            took = tuple(device_hours(run.content) for run in runs)
            traits = named | {"device": ", ".join(devices)}
            found["hours"] = Number(took, "hours", hours, files, traits=traits)
        return {Key(backbone.name, method, TRAINING, metric): number for metric, number in found.items()}

    def _records(self, backbone: str, method: str, name: str) -> dict[int, Record]:
        """By seed."""
        found = {seed: self.results.find(backbone, method, seed, name) for seed in self.results.layout.seeds_of(method)}
        return {seed: record for seed, record in found.items() if record is not None}

    def _recalls(self, backbone: Entry, method: str, entry: Entry) -> Numbers:
        records = self._records(backbone.name, method, f"retrieval/{entry.name}.json")
        place, traits = (backbone.name, method), {"backbone": backbone.name}
        return self._counted(place, entry, list(records.values()), _moving(records, method), traits)

    def _row_recalls(self, row: str, entry: Entry) -> Numbers:
        """Of a system that is no run."""
        record = next(iter(self.results.over_seeds(ROWS, row, f"retrieval/{entry.name}.json")), None)
        return {} if record is None else self._counted((ROWS, row), entry, [record], self._row_seeds(record), {})

    def _row_seeds(self, record: Record) -> tuple[int, ...]:
        """The seeds of the tuned runs that a row stands on, whose adapters it names; none of what no seed moves."""
        adapters = {record.at("inputs").get(key) for key in ("coarse", "by")}
        file, tuned = f"retrieval/{record.path.name}", [place for place in self.methods if place[1] != "base"]
        runs = [run for backbone, method in tuned for run in self._records(backbone.name, method, file).items()]
        return tuple(sorted({seed for seed, run in runs if run.at("inputs").get("adapter", "") in adapters}))

    def _counted(
        self,
        place: tuple[str, str],
        entry: Entry,
        records: Sequence[Record],
        seeds: tuple[int, ...],
        named: dict[str, str],
    ) -> Numbers:
        """Recalls of both directions on a set.

        Args:
            records: a metrics file for each seed, if there are any
            named: what stands for something of the paper's
        """
        if not records:
            return {}
        first, found = records[0], {}
        table = _ranks(first) if len(records) == 1 else None
        counting = f"{first.text('variant')} {first.at('counted')}"
        traits = named | self._traits(entry, first, "gallery") | {"counting": counting}
        images, captions = (int(first.number("n", key)) for key in ("images", "captions"))
        for way in WAYS:
            hits = None if table is None else clusters(table, way)
            for column, recall in enumerate(RECALLS):
                values = tuple(record.number("metrics", way, recall) for record in records)
                found[Key(*place, entry.name, f"{way} {recall}")] = Number(
                    values,
                    "recall",
                    one_decimal,
                    self.files(records),
                    seeds=seeds,
                    traits=traits,
                    origin=_origin(records, place[1], way, recall),
                    sample=Sample(*ends(first, way, recall), images, captions if way == "t2i" else images),
                    evidence=hits,
                    column=column,
                    stale=self.stale(records),
                )
        return found

    def _score(self, backbone: Entry, method: str, entry: Entry) -> Numbers:
        records = self._records(backbone.name, method, f"retention/{entry.name}.json")
        if not records:
            return {}
        first, proved = next(iter(records.values())), all(one.by_construction for one in records.values())
        if proved:  # one run's numbers, whatever the seeds are
            records = dict([next(iter(records.items()))])
        traits = (
            {"backbone": backbone.name} | self._traits(entry, first, "questions") | {"scorer": first.text("scorer")}
        )
        items, accuracy = int(first.number("n", "items")), first.number("metrics", "accuracy")
        counts_hits = first.text("benchmark") in COUNTED
        unit = items / 100 if counts_hits else 1.0
        interval = accuracy_interval(round(accuracy * items / 100), items)
        number = Number(
            tuple(record.number("metrics", "score") for record in records.values()),
            "score",
            integer if counts_hits else one_decimal,
            self.files(records.values()),
            seeds=() if proved else _moving(records, method),
            unit=unit,
            traits=traits,
            origin=_origin(records.values(), method),
            proved=proved,
            sample=Sample(unit * interval.low, unit * interval.high, items, items),
            evidence=self._answers(backbone.name, method, entry, records),
            stale=self.stale(records.values()),
        )
        return {Key(backbone.name, method, entry.name, "score"): number}

    def _answers(self, backbone: str, method: str, entry: Entry, records: dict[int, Record]) -> Clusters | None:
        """Of a single run whose answers are there, whether each question is answered."""
        ((seed, record), *others) = records.items()
        found = None if others or record.stale else judged(self.results, backbone, method, entry.name, seed)
        return by_question(found.hits) if isinstance(found, Judged) else None

    def _traits(self, entry: Entry, record: Record, asked: str) -> dict[str, str]:
        """Of a benchmark: its bytes, what was asked of it, and how much of it training has seen."""
        inputs = record.at("inputs")
        traits = {"set": entry.name}
        labels = {"set": "data", asked: "queries"}
        traits |= {label: inputs[key][:SHOWN] for key, label in labels.items() if key in inputs}
        audit = find_audit(self.results)
        if audit is not None and f"{entry.name}/test" in audit.at("splits"):
            traits["number of test items in the training set"] = str(len(leaked(audit, entry)))
        return traits


def _layout(folder: Path, catalogue: Catalogue) -> Layout:
    runs = [path.parent for path in sorted(folder.glob(RUNS))]
    presets = sorted({run.parents[1].name for run in runs})
    seeds = {_seed(run) for run in runs if run.parent.name != "base"}
    folders = [*runs, *(folder / ROWS / row for row in _rows(folder))]
    sets = {
        kind: sorted({path.stem for one in folders for path in (one / kind).glob("*.json")})
        for kind in ("retrieval", "retention")
    }
    return Layout(
        preset=folder.name,
        seeds=tuple(sorted(seeds)),
        backbones=tuple(map(catalogue.backbone, presets)),
        methods=tuple(sorted({run.parent.name for run in runs})),
        retrieval_sets=tuple(map(catalogue.benchmark, sets["retrieval"])),
        knowledge_sets=(),  # compared as any other retrieval set
        retention_sets=tuple(map(catalogue.benchmark, sets["retention"])),
        table3_base=True,
    )


def _rows(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"{ROWS}/*/row.json"))


def _seed(run: Path) -> int:
    number = run.name.removeprefix("seed")
    if not number.isdecimal():
        raise SlqError(f"{run}: is no folder of a run; expected seed<k>")
    return int(number)


def _ranks(record: Record) -> pd.DataFrame | None:
    """The ranks behind a metrics file, of the variant that tables print, if they are there and are its own."""
    if record.stale or not beside(record.path, RANKED).exists():
        return None
    table = read_ranks(record.path, record.content)
    return table[table["variant"] == record.text("variant")]


def _moving(records: dict[int, Record], method: str) -> tuple[int, ...]:
    """The seeds of some runs; of the base none, which has nothing random."""
    return () if method == "base" else tuple(records)


def _origin(records: Iterable[Record], method: str, *keys: str) -> str:
    """Identity of what gave a number: the hashes in its files, if they name the adapter; never a name of folders."""
    inputs = [{key: value for key, value in record.at("inputs").items() if key not in MADE} for record in records]
    return digest([inputs, method, *keys]) if all("adapter" in one for one in inputs) else ""
