"""Numbers of the paper's Tables 1 and 3, keyed by the names of the runs that they are compared with."""

from collections.abc import Iterable
from pathlib import Path

from slq.common.errors import SlqError
from slq.reporting.comparison.metric_values import (
    TRAINING_COSTS,
    CellKey,
    ComparisonSettings,
    MetricValue,
    MetricValues,
)
from slq.reporting.recalls import PaperTables
from slq.results.cells import (
    SUFFIX_FACTORS,
    Formatter,
    count_decimals,
    format_hours,
    format_integer,
    format_one_decimal,
    format_parameter_count,
)
from slq.results.layout import LayoutEntry

SLQ_GROUP = "Ours"  # the group of Table 1 that holds SLQ
PAPER_SEED = -1  # the paper does not state its seed; -1 is none of ours
PAPER_DEVICE = "H800"  # device of the paper's hours, by the header of their column
LM_HEAD_NOTE = (
    "the paper's count is with the LM head where it is no embedding, ours without, as no vector depends on it"
)
COST_METRICS = {"parameters": "parameters", "gpu_hours": "hours"}


def load_paper_metric_values(
    reference_folder: Path, settings: ComparisonSettings, other_values: MetricValues
) -> MetricValues:
    """Load Table 3, and the rows of SLQ in Table 1.

    Args:
        reference_folder: the folder of the paper's values
        other_values: the numbers of the other side; a number of the paper takes the names of the other side's backbones
            and datasets that stand for its own

    Raises:
        SlqError: a file cannot be read, or Tables 1 and 3 disagree.
    """
    backbones_by_paper_name = _names_by_paper_name(settings.backbone(key.backbone) for key in other_values)
    datasets_by_paper_name = _names_by_paper_name(settings.dataset(key.benchmark) for key in other_values)
    label = settings.labels.get(settings.proposed_method, settings.proposed_method)
    names_by_model = {
        f"{label} ({entry.label})": entry.name for entry in settings.backbones.values() if entry.is_from_paper
    }
    published = PaperTables(reference_folder, reference_folder)
    quotes = [(_parse_column(*where), quote) for where, quote in published.table3.items()]
    quotes += [
        (CellKey(names_by_model.get(model, model), settings.proposed_method, name, f"{direction} {metric}"), quote)
        for (model, name, direction, metric), quote in published.recalls.cells.items()
        if model in published.recalls.models_by_group.get(SLQ_GROUP, ())
    ]
    metric_values: MetricValues = {}
    for key, quote in quotes:
        if not isinstance(quote.value, float):
            continue
        file = f"{reference_folder.as_posix()}/{Path(quote.source).name}"
        number = _paper_metric_value(key, quote.value, quote.text, file, key.method == settings.cost_baseline)
        # The numbers of a backbone that the other side lacks keep the paper's dataset names.
        dataset_names = datasets_by_paper_name if key.backbone in backbones_by_paper_name else {}
        for backbone in backbones_by_paper_name.get(key.backbone, [key.backbone]):
            for benchmark in dataset_names.get(key.benchmark, [key.benchmark]):
                existing = metric_values.setdefault(key._replace(backbone=backbone, benchmark=benchmark), number)
                if existing.value != number.value:
                    disagreement = f"{number.value:g}, and {existing.files[0]} says {existing.value:g}"
                    raise SlqError(f"{file}: {disagreement}: put one right")
    return metric_values


def _names_by_paper_name(entries: Iterable[LayoutEntry]) -> dict[str, list[str]]:
    """Group the other side's names by the paper's name that they stand for."""
    names: dict[str, list[str]] = {}
    for entry in dict.fromkeys(entries):
        names.setdefault(entry.paper_name, []).append(entry.name)
    return names


def _parse_column(backbone: str, method: str, column: str) -> CellKey:
    """Parse a column of Table 3: `flickr30k_t2i_R@5` is the dataset's `t2i R@5`, `mmmu` its score."""
    if column in COST_METRICS:
        return CellKey(backbone, method, TRAINING_COSTS, COST_METRICS[column])
    benchmark, *metric = column.split("_")
    return CellKey(backbone, method, benchmark, " ".join(metric) or "score")


def _paper_metric_value(key: CellKey, value: float, printed: str, file: str, counts_lm_head: bool) -> MetricValue:
    """Build the metric value of a number that the paper prints, of a method whose count may hold the LM head."""
    forms: dict[str, tuple[str, Formatter]] = {
        "parameters": ("parameters", format_parameter_count),
        "hours": ("hours", format_hours),
    }
    counts_hits = key.benchmark == "ocrbench"
    default_form = (
        "recall" if key.metric != "score" else "score",
        format_integer if counts_hits else format_one_decimal,
    )
    kind, form = forms.get(key.metric, default_form)
    conditions = {"backbone": key.backbone}
    if kind == "hours":
        conditions["device"] = PAPER_DEVICE
    if key.benchmark != TRAINING_COSTS:
        conditions |= {"dataset": key.benchmark, "number of test items in the training set": "0"}
    printed_unit = SUFFIX_FACTORS.get(printed[-1], 1.0)
    return MetricValue(
        (value,),
        kind,
        form,
        (file,),
        seeds=(PAPER_SEED,),
        units_per_point=10.0 if counts_hits else 1.0,
        conditions=conditions,
        quoted=True,
        note=LM_HEAD_NOTE if kind == "parameters" and counts_lm_head else "",
        rounding_error=0.5 * printed_unit * 10.0 ** -count_decimals(printed.rstrip("kMB")),
    )
