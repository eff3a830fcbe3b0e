"""The numbers that the paper prints, under the names of the runs that they are set beside."""

from collections.abc import Iterable
from pathlib import Path

from slq.common.errors import SlqError
from slq.reporting.comparison.numbers import TRAINING, Catalogue, Key, Number, Numbers
from slq.reporting.recalls import Reference
from slq.results.cells import UNITS, Format, decimals, hours, integer, one_decimal, parameters
from slq.results.layout import Entry

OURS = "Ours"  # the group of Table 1 that holds SLQ
PAPERS_SEED = -1  # it does not say which: none of ours
DEVICE = "H800"  # of the paper's hours, by the head of its column
HEAD = "the paper's count is with the LM head where it is no embedding, ours without, as no vector depends on it"
COSTS = {"parameters": "parameters", "gpu_hours": "hours"}


def paper_numbers(reference: Path, catalogue: Catalogue, others: Numbers) -> Numbers:
    """Table 3, and of Table 1 the rows of SLQ.

    Args:
        reference: the folder of the paper's values
        others: of the other side, whose names a number takes where they stand for the paper's

    Raises:
        SlqError: a file cannot be read, or Tables 1 and 3 disagree.
    """
    backbones = _standing(catalogue.backbone(key.backbone) for key in others)
    sets = _standing(catalogue.benchmark(key.benchmark) for key in others)
    labels = {f"SLQ ({entry.label})": entry.name for entry in catalogue.backbones.values() if entry.is_the_papers}
    published = Reference(reference, reference)
    quotes = [(_place(*where), quote) for where, quote in published.table3.items()]
    quotes += [
        (Key(labels.get(model, model), "slq", name, f"{direction} {metric}"), quote)
        for (model, name, direction, metric), quote in published.recalls.quotes.items()
        if model in published.recalls.groups.get(OURS, ())
    ]
    found: Numbers = {}
    for place, quote in quotes:
        if not isinstance(quote.value, float):
            continue
        file = f"{reference.as_posix()}/{Path(quote.source).name}"
        number = _number(place, quote.value, quote.text, file)
        # A backbone that the other side lacks is on the paper's sets.
        named = sets if place.backbone in backbones else {}
        for backbone in backbones.get(place.backbone, [place.backbone]):
            for benchmark in named.get(place.benchmark, [place.benchmark]):
                before = found.setdefault(place._replace(backbone=backbone, benchmark=benchmark), number)
                if before.value != number.value:
                    told = f"{number.value:g}, and {before.files[0]} says {before.value:g}"
                    raise SlqError(f"{file}: {told}: put one right")
    return found


def _standing(entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Names of the other side by the paper's."""
    names: dict[str, list[str]] = {}
    for entry in dict.fromkeys(entries):
        names.setdefault(entry.reference, []).append(entry.name)
    return names


def _place(backbone: str, method: str, column: str) -> Key:
    """Of a column of Table 3: `flickr30k_t2i_R@5` is the set's `t2i R@5`, `mmmu` its score."""
    if column in COSTS:
        return Key(backbone, method, TRAINING, COSTS[column])
    benchmark, *metric = column.split("_")
    return Key(backbone, method, benchmark, " ".join(metric) or "score")


def _number(place: Key, value: float, printed: str, file: str) -> Number:
    forms: dict[str, tuple[str, Format]] = {"parameters": ("parameters", parameters), "hours": ("hours", hours)}
    counts_hits = place.benchmark == "ocrbench"
    recall = ("recall" if place.metric != "score" else "score", integer if counts_hits else one_decimal)
    kind, form = forms.get(place.metric, recall)
    traits = {"backbone": place.backbone}
    if kind == "hours":
        traits["device"] = DEVICE
    if place.benchmark != TRAINING:
        traits |= {"set": place.benchmark, "number of test items in the training set": "0"}
    unit = UNITS.get(printed[-1], 1.0)
    return Number(
        (value,),
        kind,
        form,
        (file,),
        seeds=(PAPERS_SEED,),
        unit=10.0 if counts_hits else 1.0,
        traits=traits,
        quoted=True,
        note=HEAD if (place.method, kind) == ("full_ft", "parameters") else "",
        rounding=0.5 * unit * 10.0 ** -decimals(printed.rstrip("kMB")),
    )
