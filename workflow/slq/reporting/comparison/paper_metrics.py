"""Numbers of the paper's Tables 1 and 3, keyed by the names of the runs to compare them with."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.reporting.comparison.metric_values import (
    TRAINING_COSTS,
    CellKey,
    ComparisonSettings,
    MetricValue,
    MetricValues,
)
from slq.results.cells import FORMATTERS, SUFFIX_FACTORS, count_decimals
from slq.results.layout import LayoutEntry
from slq.results.paper import OWN_GROUP, Paper

PAPER_SEED = -1  # the paper does not state its seed; -1 differs from all of ours
PAPER_DEVICE = "H800"  # device of the paper's hours, according to their column header
LM_HEAD_NOTE = (
    "the paper's count is with the LM head where it is no embedding, ours without, as no vector depends on it"
)


def load_paper_metric_values(
    reference_folder: Path, settings: ComparisonSettings, other_values: MetricValues
) -> MetricValues:
    """Load Table 3, and the rows of the proposed method in Table 1.

    Args:
        reference_folder: the folder of the paper's values
        other_values: the numbers of the other side; a number of the paper is keyed by the other side's backbone and
            dataset that represent the paper's own

    Raises:
        SlqError: Tables 1 and 3 disagree.
    """
    backbones_by_paper_name = _names_by_paper_name((key.backbone for key in other_values), settings.backbones)
    datasets_by_paper_name = _names_by_paper_name((key.benchmark for key in other_values), settings.datasets)
    label = settings.labels.get(settings.proposed_method, settings.proposed_method)
    names_by_model = {
        f"{label} ({entry.label})": entry.name for entry in settings.backbones.values() if entry.is_from_paper
    }
    paper = Paper(reference_folder, reference_folder, tables=("table3", "table1"))
    metric_values: MetricValues = {}
    for row in (*paper.table("table3"), *paper.table("table1", group=OWN_GROUP)):
        paper_backbone = row.backbone or names_by_model.get(row.row, row.row)
        method, metric = row.method or settings.proposed_method, f"{row.direction} {row.metric}".strip()
        file = f"{reference_folder.as_posix()}/{Path(row.source).name}"
        number = _paper_metric_value(row, paper_backbone, file, method == settings.cost_baseline)
        # The numbers of a backbone that the other side lacks keep the paper's dataset names.
        dataset_names = datasets_by_paper_name if paper_backbone in backbones_by_paper_name else {}
        for backbone in backbones_by_paper_name.get(paper_backbone, [paper_backbone]):
            for benchmark in dataset_names.get(row.dataset, [row.dataset or TRAINING_COSTS]):
                key = CellKey(backbone, method, benchmark, metric)
                existing = metric_values.setdefault(key, number)
                if existing.value != number.value:
                    disagreement = f"value is {number.value:g}, but {existing.files[0]} has {existing.value:g}"
                    raise SlqError(f"{number.files[0]}: {disagreement}; correct one of them")
    return metric_values


def _names_by_paper_name(names: Iterable[str], entries: Mapping[str, LayoutEntry]) -> dict[str, list[str]]:
    """Group the other side's names by the paper's name that they represent."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name in entries and entries[name].paper_name:
            found.setdefault(entries[name].paper_name, []).append(name)
    return found


def _paper_metric_value(row: Any, backbone: str, file: str, counts_lm_head: bool) -> MetricValue:
    """Build the metric value of a printed number.

    Args:
        counts_lm_head: whether the paper's parameter count includes an LM head that is not tied to the embedding
    """
    kind = {"retrieval": "recall", "retention": "score"}.get(row.kind, row.metric)
    conditions = {"backbone": backbone}
    if kind == "hours":
        conditions["device"] = PAPER_DEVICE
    if row.dataset:
        conditions |= {"dataset": row.dataset, "number of test items in the training set": "0"}
    printed_unit = SUFFIX_FACTORS.get(row.printed[-1], 1.0)
    return MetricValue(
        (row.value,),
        kind,
        FORMATTERS[row.unit],
        (file,),
        seeds=(PAPER_SEED,),
        units_per_point=row.sample_sizes[0] / 100 if row.unit == "hits" else 1.0,
        conditions=conditions,
        quoted=True,
        note=LM_HEAD_NOTE if kind == "parameters" and counts_lm_head else "",
        rounding_error=0.5 * printed_unit * 10.0 ** -count_decimals(row.printed.rstrip("kMB")),
    )
