"""The plan of a preset before its runs, rendered from config.yaml and the paper's values (docs/plan.md).

The smallest margin of a cell rests on two standard errors that are known before the runs only as assumptions:

- Seeds: `seed_sd` of both methods, scaled from 50 % to the level of the numbers, as in comparisons (docs/compare.md).
- Items: binomial, as if both methods found each query independently and queries were independent. Two tuned methods
  share most of their hits, which makes the error smaller; captions of an image share theirs, which makes it larger.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import hypot, isinf, sqrt
from pathlib import Path
from typing import Any

from slq.claims.claim import read_claims
from slq.common.files import hash_json, write_text
from slq.cost.architecture import UnknownCostError
from slq.cost.forecast import forecast_preset
from slq.cost.forecast_table import total_hours
from slq.evaluation.seed_differences import smallest_margin
from slq.methods.registry import BASE
from slq.reporting.html import template_environment
from slq.results.cells import format_one_decimal, with_sign
from slq.results.paper import Paper

Settings = Mapping[str, Any]
SEED_CHOICES = (3, 5, 8)  # numbers of seeds to choose from, besides that of the preset
DASH = "\u2013"  # shown instead of a missing number
DIRECTIONS = ("t2i", "i2t")
UNKNOWN_LEVEL = 50.0  # percent; the level at which both standard errors are largest


@dataclass(frozen=True)
class PlannedCell:
    """A primary cell: the proposed method's number minus another trained method's.

    Attributes:
        backbone, column, other: labels of the backbone, the number and the other method
        paper_margin: the paper's margin in percentage points; None if the paper has none on these data
        margins: smallest margin that is told apart from zero, by number of seeds; infinite with too few seeds, and None
            if `seed_sd` or the size of the test split is unknown
    """

    backbone: str
    column: str
    other: str
    paper_margin: float | None
    margins: Mapping[int, float | None]

    def resolves(self, num_seeds: int) -> bool | None:
        """Return whether a margin of the paper's size is told apart from zero; None if that is unknown."""
        margin = self.margins[num_seeds]
        return None if self.paper_margin is None or margin is None else abs(self.paper_margin) >= margin


@dataclass(frozen=True)
class Plan:
    """What a preset decides, and what it can decide.

    Attributes:
        settings: from `slq.config.plan_settings.plan_settings`
        cells: the primary cells, by other method, backbone, dataset and direction
        hours: device hours of all trainings and evaluations, by number of seeds; a dash if they are not known
    """

    settings: Settings
    cells: Sequence[PlannedCell]
    hours: Mapping[int, str]

    @property
    def num_seeds(self) -> int:
        """The preset's number of seeds."""
        return len(self.settings["decisions"]["seeds"])

    def count_resolved(self, num_seeds: int) -> tuple[int, int]:
        """Count the paper's margins that are told apart from zero, and all that could be."""
        answers = [one.resolves(num_seeds) for one in self.cells]
        return answers.count(True), len(answers) - answers.count(None)


def write_plan(settings: Settings, reference: Path, templates: Path, out: Path) -> None:
    """Write the plan as Markdown, and print its hash.

    Args:
        settings: from `slq.config.plan_settings.plan_settings`
        reference: the folder of the paper's values and claims
        templates: the folder of the Jinja templates
    """
    paper = Paper(reference, reference)
    claims = {one.id.partition("/")[0]: one for one in read_claims(reference / "claims.yaml", paper)}
    decided = hash_json(settings["decisions"])
    labels = {row["name"]: row["label"] for row in settings["layout"]["rows"]}
    by_backbone = settings["decisions"]["training"].values()
    checkpoints = sorted({one["checkpoint_selection"] for runs in by_backbone for one in runs.values()})
    environment = template_environment(templates)
    environment.filters |= {
        "method": lambda name: labels.get(name, name),
        "margin": lambda value: DASH if value is None or isinf(value) else format_one_decimal(value),
        "signed": lambda value: DASH if value is None else with_sign(format_one_decimal)(value),
    }
    text = environment.get_template("plan.md.j2").render(
        plan=build_plan(settings, paper),
        decisive=build_plan(settings["decisive"], paper) if "decisive" in settings else None,
        decisions=settings["decisions"],
        checkpoints=checkpoints,
        claims=claims,
        hash=decided,
    )
    write_text(out, text)
    print(f"plan {decided} of preset {settings['layout']['preset']}")


def build_plan(settings: Settings, paper: Paper) -> Plan:
    """Build a preset's plan from its settings and the paper's numbers."""
    counts = sorted({*SEED_CHOICES, len(settings["decisions"]["seeds"])})
    try:
        runs = forecast_preset(settings["forecast"])[0]
        hours = {count: total_hours({**settings["forecast"], "seeds": range(count)}, runs) for count in counts}
    except UnknownCostError:
        hours = dict.fromkeys(counts, "-")
    return Plan(settings, list(_primary_cells(settings, paper, counts)), hours)


def _primary_cells(settings: Settings, paper: Paper, counts: Sequence[int]) -> Iterator[PlannedCell]:
    """Yield the proposed method against each other trained method; none if the preset does not train it."""
    layout, decided = settings["layout"], settings["decisions"]
    proposed, labels = layout["proposed_method"], {row["name"]: row["label"] for row in layout["rows"]}
    others = [name for name in layout["methods"] if name not in (BASE, proposed)]
    columns = [*product(layout["retrieval_datasets"], DIRECTIONS), *product(layout["retention_datasets"], [""])]
    for other, backbone, (dataset, direction) in product(others, layout["backbones"], columns):
        if proposed not in layout["methods"]:
            return
        kind, metric = ("recall", f" {direction} R@5") if direction else ("score", "")
        levels: list[float | None] = [None, None]
        if dataset["name"] not in settings["synthetic"]:
            column = f"{dataset['paper_name']}{metric}"
            levels = [_paper_percentage(paper, f"{backbone['paper_name']}/{one}", column) for one in (proposed, other)]
        first, second = levels
        items = decided["test_sizes"][dataset["name"]]["images" if direction == "i2t" else "texts"]
        spreads = [decided["seed_sd"][one] for one in (proposed, other)]
        yield PlannedCell(
            backbone["label"],
            dataset["label"] + metric.upper(),
            labels[other],
            None if first is None or second is None else first - second,
            {
                count: None
                if items is None or None in spreads
                else _margin(count, [one[kind] for one in spreads], levels, items, decided["power"])
                for count in counts
            },
        )


def _margin(
    num_seeds: int, seed_sds: Sequence[float], levels: Sequence[float | None], items: int, power: float
) -> float:
    """Compute the smallest margin between two numbers of these levels in percent, in percentage points."""
    percents = [UNKNOWN_LEVEL if level is None else level for level in levels]
    item_sds = [sqrt(percent * (100 - percent)) for percent in percents]  # of one query, in percentage points
    difference_sd = hypot(*(sd * item_sd / UNKNOWN_LEVEL for sd, item_sd in zip(seed_sds, item_sds, strict=True)))
    return smallest_margin(num_seeds, difference_sd, hypot(*item_sds) / sqrt(items), power)


def _paper_percentage(paper: Paper, row: str, column: str) -> float | None:
    """Return a number of Table 3 in percent, also if it is printed in hits; None if the table has none."""
    number = paper.find("table3", row, column)
    if number is None or number.value is None:
        return None
    return float(100 * number.value / number.sample_sizes[0] if number.unit == "hits" else number.value)
