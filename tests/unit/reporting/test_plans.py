"""Results under other plans than the present one are said on the page."""

from slq.common.files import read_json, write_json
from slq.reporting.page.plans import read_result_plans
from slq.results.layout import parse_layout
from stored import PAPER

NOW, BEFORE = "a" * 64, "b" * 64


def write_results(root, *plans):
    """Write run.json of as many runs, each with a plan; "" writes a file without the key."""
    layout = parse_layout(PAPER)
    for (backbone, method, seed), plan in zip(layout.runs, plans, strict=False):
        content = {"schema": 2} | ({"plan": plan} if plan != "" else {})
        write_json(root / "results/paper" / backbone / method / f"seed{seed}" / "run.json", content)
    return read_result_plans(root / "results", layout, NOW)


def test_one_short_line_if_all_are_of_the_present_plan(tmp_path):
    found = write_results(tmp_path, NOW, NOW, NOW)
    assert found.sentences == ["3 of 3 results were made under the present plan, aaaaaaaaaaaa."]
    assert found.others == {}


def test_a_plan_changed_after_results_is_said(tmp_path):
    found = write_results(tmp_path, BEFORE, NOW, BEFORE, None, "")
    assert found.sentences == [
        "1 of 5 results were made under the present plan, aaaaaaaaaaaa.",
        "The plan was changed after results: 2 of 5 were made under another plan (bbbbbbbbbbbb: 2).",
        "2 of 5 results record no plan: made outside Snakemake, or earlier.",
    ]
    assert [len(files) for files in found.others.values()] == [2] and all(
        file.endswith("run.json") for file in found.others[BEFORE]
    )


def test_without_results_the_plan_alone_is_named(tmp_path):
    assert write_results(tmp_path).sentences == ["Plan aaaaaaaaaaaa; no result exists yet."]


def test_a_result_that_inherits_its_numbers_has_its_own_plan(tmp_path):
    layout = parse_layout(PAPER)
    backbone, method, seed = layout.runs[0]
    file = tmp_path / "results/paper" / backbone / method / f"seed{seed}" / "retention" / "mmmu.json"
    write_json(file, {"schema": 4, "inherits_from": "elsewhere.json", "inputs": {}, "plan": BEFORE})
    assert read_json(file)["plan"] in read_result_plans(tmp_path / "results", layout, NOW).others
