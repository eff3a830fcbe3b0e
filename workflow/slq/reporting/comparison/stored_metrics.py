"""Numbers of a preset's folder of results, for a comparison."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from slq.common.errors import SlqError
from slq.common.files import hash_json
from slq.cost.hours import training_device_hours
from slq.evaluation.metrics_files import RANKS_SUFFIX, read_ranks, sibling_path
from slq.evaluation.retention_metrics import HIT_COUNT_BENCHMARKS
from slq.evaluation.statistics import (
    ClusteredHits,
    accuracy_interval,
    compute_hits_per_image,
    compute_hits_per_question,
)
from slq.methods.registry import BASE
from slq.reporting.comparison.bundles import RUN_GLOB
from slq.reporting.comparison.metric_values import (
    TRAINING_COSTS,
    CellKey,
    ComparisonSettings,
    MetricValue,
    MetricValues,
    SampleStatistics,
)
from slq.reporting.interval_tables import DIRECTION_LABELS, RECALL_METRICS, interval_bounds
from slq.reporting.notes import find_audit, leaked_ids
from slq.results.cells import format_hours, format_integer, format_one_decimal, format_parameter_count
from slq.results.evidence import RunAnswers, load_run_answers
from slq.results.layout import LayoutEntry, MethodRow, ReportLayout
from slq.results.records import BASELINES, Record, Results, relative_path

SHORT_HASH_LENGTH = 12  # characters of a hash
OUTPUT_HASHES = ("ranks", "answers")  # hashes of outputs in a metrics file; the others are of inputs


class StoredResults:
    """Results in a preset's folder: those that exist, whether the configuration asks for them or not."""

    def __init__(self, folder: Path, display_name: str, settings: ComparisonSettings) -> None:
        """Open a preset's folder.

        Args:
            folder: the preset's folder
            display_name: the name of the folder in messages
            settings: the configured backbones and datasets
        """
        self.folder, self.display_name = folder, display_name
        self.baselines = _baseline_names(folder)  # names of the baselines
        self.results = Results(folder.parent, _infer_layout(folder, settings), include_stale=True)

    @property
    def backbone_methods(self) -> list[tuple[LayoutEntry, str]]:
        """Return every pair of a backbone and a method."""
        layout = self.results.layout
        return [(backbone, method) for backbone in layout.backbones for method in layout.methods]

    def source_files(self, records: Iterable[Record]) -> tuple[str, ...]:
        """List the files behind records, each once, named as the user named the source."""
        sources = [source for record in records for source in record.source.split("; ")]
        return tuple(dict.fromkeys(map(self._display_source, sources)))

    def stale_reasons(self, records: Iterable[Record]) -> str:
        """Explain which of the records do not match their ranks or answers, and why; "" if all match."""
        return "; ".join(
            dict.fromkeys(self._display_source(record.stale_reason) for record in records if record.stale_reason)
        )

    def notices(self) -> list[str]:
        """List the warnings on stale and unchecked files, each named as the user named the source."""
        inside = relative_path(self.folder, self.results.root)
        return [
            line.replace(f"{inside}/", f"{self.display_name}/") for line in self.results.stale_files.warning_lines()
        ]

    def _display_source(self, source: str) -> str:
        return self.display_name + source.removeprefix(relative_path(self.folder, self.results.root))

    def run_records(self, backbone: str, method: str) -> list[Record]:
        """Read `run.json` of every seed, unchecked against the folder's name, which a copy may have changed."""
        return self.results.find_all_seeds(backbone, method, "run.json")

    def read_metric_values(self) -> MetricValues:
        """Read every recall, score, number of trained parameters, and training hours.

        Raises:
            SlqError: a file that exists cannot be used, or has another schema version.
        """
        layout = self.results.layout
        metric_values: MetricValues = {}
        for backbone, method in self.backbone_methods:
            metric_values |= self._cost_metrics(backbone, method)
            for entry in layout.retrieval_datasets:
                metric_values |= self._recall_metrics(backbone, method, entry)
            for entry in layout.retention_datasets:
                metric_values |= self._score_metric(backbone, method, entry)
        for baseline in self.baselines:
            for entry in layout.retrieval_datasets:
                metric_values |= self._baseline_recall_metrics(baseline, entry)
        return metric_values

    def _cost_metrics(self, backbone: LayoutEntry, method: str) -> MetricValues:
        """Return the trained parameters and the training hours of a method; empty for base or without runs."""
        runs = self.run_records(backbone.name, method)
        if not runs or method == BASE:
            return {}
        files, conditions = self.source_files(runs), {"backbone": backbone.name}
        trainable_parameters = tuple(run.number("parameters", "trainable") for run in runs)
        found = {
            "parameters": MetricValue(
                trainable_parameters, "parameters", format_parameter_count, files, conditions=conditions
            )
        }
        if all(run.value("device") for run in runs):
            devices = sorted({f"{run.text('device', 'name')} x {run.number('device', 'count'):g}" for run in runs})
            training_hours = tuple(training_device_hours(run.content) for run in runs)
            hours_conditions = conditions | {"device": ", ".join(devices)}
            found["hours"] = MetricValue(training_hours, "hours", format_hours, files, conditions=hours_conditions)
        return {CellKey(backbone.name, method, TRAINING_COSTS, metric): number for metric, number in found.items()}

    def _records_by_seed(self, backbone: str, method: str, name: str) -> dict[int, Record]:
        """Read the file `name` of each run of a method that has it, by seed."""
        found = {
            seed: self.results.find_record(backbone, method, seed, name)
            for seed in self.results.layout.seeds_of(method)
        }
        return {seed: record for seed, record in found.items() if record is not None}

    def _recall_metrics(self, backbone: LayoutEntry, method: str, entry: LayoutEntry) -> MetricValues:
        """Return the recalls of a method on a dataset; empty if it has none."""
        records = self._records_by_seed(backbone.name, method, f"retrieval/{entry.name}.json")
        run_key, conditions = (backbone.name, method), {"backbone": backbone.name}
        return self._recalls_on_dataset(
            run_key, entry, list(records.values()), _effective_seeds(records, method), conditions
        )

    def _baseline_recall_metrics(self, baseline: str, entry: LayoutEntry) -> MetricValues:
        """Return the recalls of a baseline on a dataset; empty if it has none."""
        record = next(iter(self.results.find_all_seeds(BASELINES, baseline, f"retrieval/{entry.name}.json")), None)
        return (
            {}
            if record is None
            else self._recalls_on_dataset((BASELINES, baseline), entry, [record], self._baseline_seeds(record), {})
        )

    def _baseline_seeds(self, record: Record) -> tuple[int, ...]:
        """Return the seeds of the trained runs whose adapters a baseline uses; empty if it depends on no seed."""
        adapters = {record.value("inputs").get(key) for key in ("first_stage", "reranker")}
        file, tuned = f"retrieval/{record.path.name}", [place for place in self.backbone_methods if place[1] != BASE]
        runs = [run for backbone, method in tuned for run in self._records_by_seed(backbone.name, method, file).items()]
        return tuple(sorted({seed for seed, run in runs if run.value("inputs").get("adapter", "") in adapters}))

    def _recalls_on_dataset(
        self,
        run_key: tuple[str, str],
        entry: LayoutEntry,
        records: Sequence[Record],
        seeds: tuple[int, ...],
        stand_in_conditions: dict[str, str],
    ) -> MetricValues:
        """Return the recalls of both directions on a dataset.

        Args:
            run_key: backbone and method, or `baselines` and the baseline's name
            entry: the dataset
            records: a metrics file for each seed; may be empty
            seeds: the seeds that the numbers depend on
            stand_in_conditions: conditions whose values may stand for something of the paper's
        """
        if not records:
            return {}
        first, metric_values = records[0], {}
        table = _read_printed_ranks(first) if len(records) == 1 else None
        counting = f"{first.text('variant')} {first.value('variant_settings')}"
        conditions = stand_in_conditions | self._dataset_conditions(entry, first, "gallery") | {"counting": counting}
        images, captions = (int(first.number("n", key)) for key in ("images", "captions"))
        for direction in DIRECTION_LABELS:
            hits = None if table is None else compute_hits_per_image(table, direction)
            for column, recall in enumerate(RECALL_METRICS):
                values = tuple(record.number("metrics", direction, recall) for record in records)
                metric_values[CellKey(*run_key, entry.name, f"{direction} {recall}")] = MetricValue(
                    values,
                    "recall",
                    format_one_decimal,
                    self.source_files(records),
                    seeds=seeds,
                    conditions=conditions,
                    inputs_hash=_hash_inputs(records, run_key[1], direction, recall),
                    sample=SampleStatistics(
                        *interval_bounds(first, direction, recall), images, captions if direction == "t2i" else images
                    ),
                    item_hits=hits,
                    hits_column=column,
                    stale_reason=self.stale_reasons(records),
                )
        return metric_values

    def _score_metric(self, backbone: LayoutEntry, method: str, entry: LayoutEntry) -> MetricValues:
        """Return the score of a method on a retention dataset; empty if it has none."""
        records = self._records_by_seed(backbone.name, method, f"retention/{entry.name}.json")
        if not records:
            return {}
        first, inherited = next(iter(records.values())), all(one.inherited for one in records.values())
        if inherited:  # base's single run, the same for every seed
            records = dict([next(iter(records.items()))])
        conditions = (
            {"backbone": backbone.name}
            | self._dataset_conditions(entry, first, "questions")
            | {"scorer": first.text("scorer")}
        )
        items, accuracy = int(first.number("n", "items")), first.number("metrics", "accuracy")
        counts_hits = first.text("benchmark") in HIT_COUNT_BENCHMARKS
        units_per_point = items / 100 if counts_hits else 1.0
        interval = accuracy_interval(round(accuracy * items / 100), items)
        number = MetricValue(
            tuple(record.number("metrics", "score") for record in records.values()),
            "score",
            format_integer if counts_hits else format_one_decimal,
            self.source_files(records.values()),
            seeds=() if inherited else _effective_seeds(records, method),
            units_per_point=units_per_point,
            conditions=conditions,
            inputs_hash=_hash_inputs(records.values(), method),
            inherited=inherited,
            sample=SampleStatistics(units_per_point * interval.low, units_per_point * interval.high, items, items),
            item_hits=self._answer_hits(backbone.name, method, entry, records),
            stale_reason=self.stale_reasons(records.values()),
        )
        return {CellKey(backbone.name, method, entry.name, "score"): number}

    def _answer_hits(
        self, backbone: str, method: str, entry: LayoutEntry, records: dict[int, Record]
    ) -> ClusteredHits | None:
        """Return whether each question is answered right, for a single run with stored answers; otherwise None."""
        ((seed, record), *others) = records.items()
        found = (
            None
            if others or record.stale_reason
            else load_run_answers(self.results, backbone, method, entry.name, seed)
        )
        return compute_hits_per_question(found.correct_by_id) if isinstance(found, RunAnswers) else None

    def _dataset_conditions(self, entry: LayoutEntry, record: Record, queries_key: str) -> dict[str, str]:
        """Return the conditions of a benchmark: hashes of its data and queries, and its number of leaked test items."""
        inputs = record.value("inputs")
        conditions = {"dataset": entry.name}
        labels = {"dataset": "data", queries_key: "queries"}
        conditions |= {label: inputs[key][:SHORT_HASH_LENGTH] for key, label in labels.items() if key in inputs}
        audit = find_audit(self.results)
        if audit is not None and f"{entry.name}/test" in audit.value("splits"):
            conditions["number of test items in the training set"] = str(len(leaked_ids(audit, entry)))
        return conditions


def _infer_layout(folder: Path, settings: ComparisonSettings) -> ReportLayout:
    """Derive the layout from the folders and files that exist."""
    runs = [path.parent for path in sorted(folder.glob(RUN_GLOB))]
    backbones = sorted({run.parents[1].name for run in runs})
    seeds = {_parse_seed(run) for run in runs if run.parent.name != BASE}
    folders = [*runs, *(folder / BASELINES / baseline for baseline in _baseline_names(folder))]
    datasets = {
        kind: sorted({path.stem for one in folders for path in (one / kind).glob("*.json")})
        for kind in ("retrieval", "retention")
    }
    methods = sorted({run.parent.name for run in runs})
    labels = dict(settings.labels) | {name: name for name in methods if name not in settings.labels}
    return ReportLayout(
        preset=folder.name,
        seeds=tuple(sorted(seeds)),
        backbones=tuple(map(settings.backbone, backbones)),
        methods=tuple(methods),
        rows=tuple(MethodRow(name, label, color="", changes_backbone=True) for name, label in labels.items()),
        proposed_method=settings.proposed_method,
        cost_baseline=settings.cost_baseline,
        retrieval_datasets=tuple(map(settings.dataset, datasets["retrieval"])),
        knowledge_datasets=(),  # compared as any other retrieval dataset
        retention_datasets=tuple(map(settings.dataset, datasets["retention"])),
        table3_base=True,
    )


def _baseline_names(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob(f"{BASELINES}/*/baseline.json"))


def _parse_seed(run_folder: Path) -> int:
    """Parse the seed from the name of a run's folder.

    Raises:
        SlqError: the name is not `seed<k>`.
    """
    number = run_folder.name.removeprefix("seed")
    if not number.isdecimal():
        raise SlqError(f"{run_folder}: is no folder of a run; expected seed<k>")
    return int(number)


def _read_printed_ranks(record: Record) -> pd.DataFrame | None:
    """Read the ranks behind a metrics file, of the variant that tables print; None if missing or stale."""
    if record.stale_reason or not sibling_path(record.path, RANKS_SUFFIX).exists():
        return None
    table = read_ranks(record.path, record.content)
    return table[table["variant"] == record.text("variant")]


def _effective_seeds(records: dict[int, Record], method: str) -> tuple[int, ...]:
    """Return the seeds of some runs; empty for base, which has nothing random."""
    return () if method == BASE else tuple(records)


def _hash_inputs(records: Iterable[Record], method: str, *keys: str) -> str:
    """Hash what produced a number: the hashes in its files, the method and the keys; no folder name is used.

    The result is "" unless every file names its adapter.
    """
    inputs = [
        {key: value for key, value in record.value("inputs").items() if key not in OUTPUT_HASHES} for record in records
    ]
    return hash_json([inputs, method, *keys]) if all("adapter" in one for one in inputs) else ""
