"""Numbers in a preset's results folder, prepared for a comparison."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slq.common.files import hash_json
from slq.evaluation.reference_recalls import RECALL_METRICS
from slq.evaluation.statistics import (
    ClusteredHits,
    accuracy_interval,
    compute_hits_per_image,
    compute_hits_per_question,
)
from slq.methods.registry import BASE
from slq.reporting.comparison.metric_values import (
    METRICS,
    TRAINING_COSTS,
    CellKey,
    ComparisonSettings,
    MetricValue,
    MetricValues,
    SampleStatistics,
)
from slq.results.cells import FORMATTERS, TableCell, join_sources
from slq.results.evidence import evidence
from slq.results.layout import BASELINES, find_layout, find_runs_of_seed
from slq.results.load import as_rows, list_numbers, load_files, read_audit, warning_lines
from slq.results.record import relative_path

SHORT_HASH_LENGTH = 12  # characters of a hash
OUTPUT_HASHES = ("ranks", "answers")  # keys of output hashes in a metrics file; all other hashes are of inputs
QUERY_HASHES = {"retrieval": "gallery", "retention": "questions"}  # key of the hash of the queries in a metrics file


class StoredResults:
    """The existing results in a preset's folder, including those that the configuration does not request.

    Attributes:
        layout: the layout of the folder
        files: the existing files, as listed by `slq.results.load.load_files`
        numbers: the numbers in these files; a stale number has its value
    """

    def __init__(self, folder: Path, display_name: str, settings: ComparisonSettings, seed: int | None) -> None:
        """Load a preset's folder.

        Args:
            folder: the preset's folder
            display_name: the name of the folder in messages
            settings: the configured backbones and datasets
            seed: restricts the runs to this seed and base, without baselines; None for all runs and baselines
        """
        self.folder, self.display_name = folder, display_name
        runs = [] if seed is None else find_runs_of_seed(folder, seed)
        self.layout = find_layout(folder, settings.backbones, settings.datasets, runs, settings.labels)
        files = load_files(folder, self.layout)
        self.files = files[files["state"] != "missing"]
        numbers = list_numbers(files)
        self.numbers = numbers[numbers["state"] != "missing"]
        self.audit = read_audit(folder)
        self._hits: dict[tuple[Path, str], ClusteredHits | None] = {}

    def notices(self) -> list[str]:
        """List the warnings about stale and unchecked files, with paths as the user named the source."""
        inside = relative_path(self.folder, self.folder.parent)
        return [line.replace(f"{inside}/", f"{self.display_name}/") for line in warning_lines(self.files)]

    def _display_source(self, source: str) -> str:
        return self.display_name + source.removeprefix(relative_path(self.folder, self.folder.parent))

    def metric_values(self) -> MetricValues:
        """Return every recall and score as printed in tables, and the trained parameters and hours, over the seeds."""
        numbers = self.numbers
        metrics = (numbers["direction"] + " " + numbers["metric"]).str.strip()
        compared = metrics.isin(METRICS) & (numbers["variant"] == "") & (numbers["kind"] != "blind")
        compared &= (numbers["method"] != BASE) | (numbers["kind"] != "run")
        numbers = numbers[compared].assign(key=metrics, benchmark=numbers["dataset"].replace("", TRAINING_COSTS))
        groups = numbers.groupby(["backbone", "method", "benchmark", "key"], sort=False)
        return {CellKey(*map(str, key)): self._metric_value(as_rows(rows)) for key, rows in groups}

    def _metric_value(self, rows: Sequence[Any]) -> MetricValue:
        """Build the number of a cell from its rows, one per seed."""
        inherited = all(row.inherits for row in rows)
        rows = rows[:1] if inherited else rows  # every seed inherits the number of base's single run
        first = rows[0]
        evaluated: dict[str, Any] = {}
        if first.kind != "run":
            reasons = dict.fromkeys(self._display_source(row.reason) for row in rows if row.state == "stale")
            evaluated = {
                "seeds": () if inherited else self._effective_seeds(rows),
                "inputs_hash": _hash_inputs(rows),
                "inherited": inherited,
                "item_hits": self._item_hits_by_seed(rows),
                "stale_reason": "; ".join(reasons),
                **(_recall_sample(first) if first.kind == "retrieval" else _score_sample(first)),
            }
        return MetricValue(
            tuple(row.value for row in rows),
            {"run": first.metric, "retention": "score"}.get(first.kind, "recall"),
            FORMATTERS[first.unit],
            tuple(dict.fromkeys(self._display_source(source) for source in join_sources(rows).split("; "))),
            conditions=self._conditions(rows),
            **evaluated,
        )

    def _effective_seeds(self, rows: Sequence[Any]) -> tuple[int, ...]:
        """Return the seeds that the numbers depend on.

        For a baseline, they are the seeds of the trained runs whose adapters it uses. Base depends on no seed.
        """
        first = rows[0]
        if not first.baseline:
            return () if first.method == BASE else tuple(row.seed for row in rows)
        adapters = {first.record.value("inputs").get(key) for key in ("first_stage", "reranker")}
        files = self.files[(self.files["kind"] == "retrieval") & (self.files["dataset"] == first.dataset)]
        tuned = as_rows(files[(files["backbone"] != BASELINES) & (files["method"] != BASE)])
        return tuple(sorted({run.seed for run in tuned if run.record.value("inputs").get("adapter", "") in adapters}))

    def _item_hits_by_seed(self, rows: Sequence[Any]) -> tuple[ClusteredHits, ...]:
        """Compute the hits by item of each seed; empty if those of any seed are missing or stale."""
        found = [self._item_hits(row) for row in rows]
        known = tuple(hits for hits in found if hits is not None)
        return known if len(known) == len(found) else ()

    def _item_hits(self, row: Any) -> ClusteredHits | None:
        """Compute the hits by item behind a recall or score; None if its ranks or answers are missing or stale.

        The hits are cached, as all recalls of one direction share them.
        """
        place = (row.path, row.direction)
        if place not in self._hits:
            found = evidence(row)
            if isinstance(found, TableCell):
                self._hits[place] = None
            elif row.kind == "retrieval":
                self._hits[place] = compute_hits_per_image(found, row.direction)
            else:
                self._hits[place] = compute_hits_per_question(dict(zip(found["id"], found["is_correct"], strict=True)))
        return self._hits[place]

    def _conditions(self, rows: Sequence[Any]) -> dict[str, str]:
        """Return the conditions that must be equal for two numbers to be comparable.

        For a benchmark: the hashes of its data and queries, its counting rule or scorer, and its number of leaked test
        items. For hours: the devices.
        """
        first = rows[0]
        conditions = {} if first.baseline else {"backbone": first.backbone}
        if first.kind == "run":
            devices = {f"{row.device[1]} x {row.record.number('device', 'count'):g}" for row in rows if row.device}
            return conditions | ({"device": ", ".join(sorted(devices))} if devices else {})
        inputs, conditions["dataset"] = first.record.value("inputs"), first.dataset
        labels = {"dataset": "data", QUERY_HASHES[first.kind]: "queries"}
        conditions |= {label: inputs[key][:SHORT_HASH_LENGTH] for key, label in labels.items() if key in inputs}
        split = f"{first.dataset}/test"
        if self.audit is not None and split in self.audit.value("splits"):
            leaked = self.audit.value("splits", split, "leaked")
            conditions["number of test items in the training set"] = str(len(leaked))
        if first.kind == "retention":
            return conditions | {"scorer": first.record.text("scorer")}
        return conditions | {"counting": f"{first.record.text('variant')} {first.record.value('variant_settings')}"}


def _recall_sample(row: Any) -> dict[str, Any]:
    """Return the statistics of the sample behind a recall, and the recall's column in the hits by item."""
    images, captions = (int(row.record.number("n", key)) for key in ("images", "captions"))
    sample = SampleStatistics(row.low, row.high, images, captions if row.direction == "t2i" else images)
    return {"sample": sample, "hits_column": RECALL_METRICS.index(row.metric)}


def _score_sample(row: Any) -> dict[str, Any]:
    """Return the statistics of the sample behind a score, and the size of a percentage point in the score's unit."""
    items, accuracy = int(row.record.number("n", "items")), row.record.number("metrics", "accuracy")
    point = items / 100 if row.unit == "hits" else 1.0
    interval = accuracy_interval(round(accuracy * items / 100), items)
    return {
        "sample": SampleStatistics(point * interval.low, point * interval.high, items, items),
        "units_per_point": point,
    }


def _hash_inputs(rows: Sequence[Any]) -> str:
    """Hash the inputs of a number: the input hashes in its files, the method, and its direction and metric.

    Folder names are not part of the hash. The result is "" unless every file records its adapter.
    """
    first = rows[0]
    inputs = [
        {key: value for key, value in row.record.value("inputs").items() if key not in OUTPUT_HASHES} for row in rows
    ]
    place = [first.direction, first.metric] if first.kind == "retrieval" else []
    return hash_json([inputs, first.method, *place]) if all("adapter" in one for one in inputs) else ""
