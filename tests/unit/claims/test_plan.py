"""The plan of a preset: its margins, hours and text, before any result exists."""

import math
import re
import shutil

import pytest

from slq.claims.plan import build_plan, write_plan
from slq.config.loading import validate_config
from slq.config.plan_settings import plan_hash, plan_settings
from slq.cost.forecast import forecast_preset
from slq.cost.forecast_table import summary_lines
from slq.evaluation.seed_differences import smallest_margin
from slq.results.paper import Paper
from stored import REFERENCE, TEMPLATES


@pytest.fixture
def config(raw_config):
    return validate_config(raw_config | {"preset": "paper", "seeds": [1, 2, 3]})


def plan_of(config):
    return build_plan(plan_settings(config), Paper(REFERENCE, REFERENCE))


def cell(plan, other, backbone, column):
    (found,) = (one for one in plan.cells if (one.other, one.backbone, one.column) == (other, backbone, column))
    return found


def test_every_number_of_table_3_is_a_cell_against_each_other_trained_method(config):
    found = plan_of(config).cells
    assert len(found) == 2 * 4 * (2 * 2 + 3) == len({(one.other, one.backbone, one.column) for one in found})
    assert {one.other for one in found} == {"Full FT", "LoRA"}


@pytest.mark.parametrize(
    ("other", "column", "levels", "items", "sds"),
    [
        ("LoRA", "COCO T2I R@5", (74.3, 72.9), 25010, (0.5, 0.5)),
        ("Full FT", "Flickr30K I2T R@5", (97.8, 94.8), 1000, (0.5, 0.5)),
        ("LoRA", "MMMU", (43.4, 42.1), 900, (0, 1.0)),
        ("LoRA", "OCRBench", (79.0, 78.5), 1000, (0, 1.0)),  # printed as 790 and 785 hits of 1,000
    ],
)
def test_a_smallest_margin_follows_from_seeds_levels_and_sizes(config, other, column, levels, items, sds):
    """The oracle adds variances: of a share p of n items p(1 - p)/n, and of seeds that of 50 % times 4p(1 - p)."""
    found = cell(plan_of(config), other, "InternVL3-1B", column)
    assert found.paper_margin == pytest.approx(levels[0] - levels[1])
    shares = [level / 100 for level in levels]
    item_error = 100 * math.sqrt(sum(p * (1 - p) / items for p in shares))
    sd = math.sqrt(sum(sd**2 * 4 * p * (1 - p) for sd, p in zip(sds, shares, strict=True)))
    assert found.margins == {n: pytest.approx(smallest_margin(n, sd, item_error), rel=1e-6) for n in (3, 5, 8)}
    assert found.resolves(3) == (levels[0] - levels[1] >= found.margins[3])


def test_fewer_than_three_seeds_resolve_nothing(config):
    plan = plan_of(config | {"seeds": [1, 2]})
    assert plan.num_seeds == 2 and plan.count_resolved(2) == (0, 56)
    assert {one.margins[2] for one in plan.cells} == {math.inf}
    resolved = [plan.count_resolved(count)[0] for count in (3, 5, 8)]
    assert resolved == sorted(resolved) and resolved[0] > 0


def test_synthetic_data_have_no_margin_of_the_paper(raw_config):
    plan = plan_of(validate_config(raw_config))
    assert {one.paper_margin for one in plan.cells} == {None} and plan.count_resolved(3) == (0, 0)
    assert all(one.margins[3] > one.margins[8] > 0 for one in plan.cells)


def test_an_unknown_deviation_or_size_gives_no_margin(config):
    del config["presets"]["paper"]["seed_sd"]["lora"], config["datasets"]["mmmu"]["size"]
    plan = plan_of(config)
    unknown = [one for one in plan.cells if one.other == "LoRA" or one.column == "MMMU"]
    assert {value for one in unknown for value in one.margins.values()} == {None}
    assert all(one.margins[3] for one in plan.cells if one not in unknown)
    assert set(plan.hours.values()) == {"-"}, "no forecast without the size"


def test_a_preset_without_the_proposed_method_has_no_primary_cells(config):
    config["presets"]["paper"] |= {"methods": ["base", "lora"], "baselines": []}
    assert plan_of(config).cells == []


def written(config, folder, templates=TEMPLATES):
    write_plan(plan_settings(config), REFERENCE, templates, folder / "plan.md")
    return (folder / "plan.md").read_text()


def test_the_page_has_hash_hours_and_the_source_of_the_deviations(config, tmp_path, capsys):
    page = written(config, tmp_path)
    assert page.count(plan_hash(config)) == 1 and plan_hash(config) in capsys.readouterr().out
    for preset in ("paper", "paper-decisive"):
        settings = plan_settings(config | {"preset": preset})["forecast"]
        (hours,) = re.findall(
            r"All runs of 3 seed\(s\): (\S+) hours", summary_lines(settings, forecast_preset(settings)[0])[0]
        )
        assert f"{hours} hours; " in page if preset == "paper-decisive" else f"| 3 (this plan) | {hours} |" in page
    assert "LoRA 0.5 (recall), 1.0 (score), assumed" in page and "measured" not in page
    assert "fewer than 3 seeds" not in page
    assert written(config, tmp_path) == page, "the same bytes"
    assert "**With fewer than 3 seeds no difference" in written(config | {"seeds": [1]}, tmp_path)


def test_every_claim_has_one_line(config, tmp_path):
    lines = written(config, tmp_path).partition("## What decides")[2].partition("## Stop rules")[0].splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 1 + 20
    decided = "the 95 % interval of SLQ \u2212 Base is within ± 1 points, on mmmu, realworldqa, ocrbench"
    assert f"| slq-keeps-answers | {decided} |" in lines


def test_wording_is_a_template(config, tmp_path):
    templates = shutil.copytree(TEMPLATES, tmp_path / "templates")
    page = written(config, tmp_path, templates)
    template = templates / "plan.md.j2"
    template.write_text(template.read_text().replace("## Stop rules", "## When to stop"))
    assert written(config, tmp_path, templates) == page.replace("## Stop rules", "## When to stop")
