"""Names of the paper and our own: the keys `paper_row` or `paper_column`, and `scored_as`."""

import copy
import json

import pytest
import yaml

from checkout import ROOT
from judged import answers, write_world
from slq.claims.judge import describe_scope, judge_claims
from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.config.cost_settings import forecast_settings
from slq.config.job_settings import claims_settings, layout, reference_check_settings, retention_settings
from slq.config.loading import validate_config
from slq.results.layout import parse_layout
from stored import MINI, REFERENCE, cell, entries, heads, mini_results, tables, write_answers

QUIZ = {"label": "My quiz", "scored_as": "realworldqa", "kind": "retention", "local_dir": "data/quiz"}
RETENTION = {"mmmu": "mmmu", "my-quiz": "", "ocrbench": "ocrbench"}


def changed(raw, **overlay):
    """The configuration with some keys of mappings changed, as by an overlay; `None` removes a key."""

    def lay(base, over):
        for key, value in over.items():
            if value is None:
                base.pop(key, None)
            elif isinstance(value, dict) and isinstance(base.get(key), dict):
                lay(base[key], value)
            else:
                base[key] = value
        return base

    return lay(copy.deepcopy(raw), overlay)


@pytest.fixture
def own_quiz(raw_config):
    """The paper preset with a user's quiz in place of RealWorldQA, scored as RealWorldQA is."""
    paper = {"retention_datasets": list(RETENTION)}
    return validate_config(changed(raw_config, preset="paper", datasets={"my-quiz": QUIZ}, presets={"paper": paper}))


@pytest.fixture
def own_results(tmp_path):
    """Runs of the paper preset in which every claim holds, with answers to the quiz."""
    results = write_world(tmp_path, "holds")
    for folder in sorted(results.glob("paper/*/*/seed*/retention")):
        write_answers(folder / "my-quiz.json", "realworldqa", "vlmevalkit-exact-2", answers(90))
    return results


def test_a_quiz_of_ones_own_is_no_evidence_for_a_claim_of_the_paper(own_quiz, own_results):
    out = own_results / "claims.json"
    judge_claims(claims_settings(own_quiz), own_results, REFERENCE, out)
    claims = {claim["id"]: claim for claim in read_json(out)["claims"]}
    assert "quiz" not in json.dumps(list(claims.values())).lower()
    kept = claims["slq-keeps-answers/InternVL3-1B"]
    assert kept["verdict"] == "undecided", "nothing here stands for RealWorldQA, and the other two do not decide alone"
    lacking = [part for part in kept["evidence"] if part["verdict"] == "not tested"]
    assert [part["value"] for part in lacking] == ["preset paper has nothing that stands for realworldqa"]


def test_a_quiz_of_ones_own_is_a_column_of_its_own_in_table_3(own_quiz, own_results):
    table = tables(layout(own_quiz), own_results)["table3"]
    printed = [text for line in heads(table) for text in line]
    assert "RealWQA" in printed and "My quiz" in printed
    assert cell(table, "InternVL3-1B/slq", "my-quiz").value == 90.0
    assert cell(table, "InternVL3-1B/slq", "realworldqa").state == "missing"
    assert [column.key for column in table.columns][-1] == "my-quiz", "behind the paper's"


def test_its_scorers_and_its_images_are_those_of_what_it_is_scored_as(own_quiz):
    datasets = {one["name"]: one for one in retention_settings(own_quiz, "InternVL3-1B")["datasets"]}
    assert datasets["my-quiz"] == {
        **{"name": "my-quiz", "benchmark": "realworldqa", "scorer": "vlmevalkit-exact-2"},
        "images": {"max_tiles": 6},
    }
    limits = forecast_settings(changed(own_quiz, datasets={"my-quiz": {"size": {
        "images": {"test": 9}, "texts": {"test": 9}, "pixels": 9, "text_tokens": 9}}}))  # fmt: skip
    assert [one["tiles"] for one in limits["backbones"][0]["retention_limits"]] == [13, 7, 25]


def test_hits_are_counted_of_what_is_scored_as_ocrbench_whatever_it_stands_for():
    mine, theirs = parse_layout(
        MINI
        | {"retention_datasets": [{"name": "signs", "label": "Signs", "paper_name": "", "scored_as": "ocrbench"},
                              {"name": "quiz", "label": "Q", "paper_name": "ocrbench", "scored_as": "mmmu"}]}
    ).retention_datasets  # fmt: skip
    assert mine.is_scored_in_hits and not theirs.is_scored_in_hits


@pytest.mark.parametrize("paper_name", ["", "Qwen2.5-VL-3B"])
def test_no_hours_of_the_paper_are_told_of_a_backbone_that_it_does_not_have(tmp_path, paper_name):
    results = mini_results(tmp_path / "results")
    own = MINI | {"backbones": [*entries(("mini-a", "A-mini", paper_name)), MINI["backbones"][1]]}
    table = tables(own, results)["gpu_hours"]
    (note,) = (note for note in table.notes if note.startswith("The paper's hours were measured with"))
    assert note.startswith(
        "The paper's hours were measured with other models and other data than ours: Qwen3-VL-2B for B-mini."
    )
    missing = cell(table, "mini-a/slq", "paper")
    assert missing.state == "missing"
    assert missing.source == f"the paper has no row {paper_name or 'that A-mini stands for'}"
    alone = tables(MINI | {"backbones": own["backbones"][:1]}, results)["gpu_hours"]
    assert not any(note.startswith("The paper's hours were measured with") for note in alone.notes)


def test_claims_count_no_run_of_a_backbone_that_stands_for_none(tmp_path):
    results = write_world(tmp_path, "holds", [1, 2, 3])
    renamed = results / "paper" / "mine"
    (results / "paper" / "InternVL3-1B").rename(renamed)
    for path in renamed.glob("*/seed*/run.json"):
        path.write_text(path.read_text().replace("InternVL3-1B", "mine"))
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    mine = raw["backbones"]["InternVL3-1B"] | {"label": "Mine"}
    del mine["paper_row"]
    preset = {"backbones": ["mine", "InternVL3-8B"], "seeds": [1, 2, 3]}
    config = validate_config(changed(raw, preset="paper", backbones={"mine": mine}, presets={"paper": preset}))
    judge_claims(claims_settings(config), results, REFERENCE, results / "claims.json")
    found = read_json(results / "claims.json")
    assert "Mine" not in json.dumps(found)
    verdicts = {claim["id"]: claim["verdict"] for claim in found["claims"]}
    assert verdicts["slq-keeps-answers/InternVL3-1B"] == "not tested"
    assert verdicts["slq-keeps-answers/InternVL3-8B"] == "supported"


def test_drawn_results_of_a_backbone_that_stands_for_none_say_so():
    own = parse_layout(MINI | {"backbones": entries(("mini-a", "A-mini", ""))})
    assert ", and no backbone stands for the paper's backbones." in describe_scope(own, ["mini-C"])


def test_paper_names_are_for_the_papers_alone(raw_config):
    """A backbone, comparator or image dataset is valid without a paper name, and then refers to no row or column."""
    overlay = {
        "backbones": {"mini-internvl": {"paper_row": None}},
        "baselines": {"mini-clip": {"paper_row": None}},
        "datasets": {"mini-coco": {"paper_column": None}},
    }
    config = validate_config(changed(raw_config, **overlay))
    shown = parse_layout(layout(config))
    assert [entry.paper_name for entry in shown.backbones] == ["", "Qwen3-VL-2B"]
    assert [entry.paper_name for entry in shown.retrieval_datasets] == ["flickr30k", ""]
    assert {one.name: one.paper_row for one in shown.baselines}["mini-clip"] == ""
    assert {one["name"]: one["paper_column"] for one in reference_check_settings(config)["datasets"]} == {
        "mini-flickr30k": "flickr30k",
        "mini-coco": "",
    }


FAULTS = {
    "no scorers": (
        {"datasets": {"mini-realworldqa": {"scored_as": None}}},
        r"datasets.mini-realworldqa.scored_as is missing; .* mmmu, realworldqa or ocrbench. "
        r"datasets.mini-realworldqa.paper_column does not",
    ),
    "scorers that do not exist": (
        {"datasets": {"mini-realworldqa": {"scored_as": "realwordqa"}}},
        r"datasets.mini-realworldqa.scored_as is 'realwordqa'; did you mean 'realworldqa'",
    ),
    "scorers without questions": (
        {"datasets": {"mini-coco": {"scored_as": "mmmu"}}},
        r"datasets.mini-coco.scored_as does not apply to a retrieval dataset; remove it",
    ),
    "a column, and another's scorers": (
        {"datasets": {"mini-realworldqa": {"scored_as": "mmmu"}}},
        r"datasets.mini-realworldqa.scored_as is 'mmmu', but its paper_column is 'realworldqa': .*remove paper_column",
    ),
    "two datasets for a column": (
        {
            "datasets": {"my-quiz": QUIZ | {"paper_column": "realworldqa"}},
            "presets": {"mini": {"retention_datasets": ["mini-realworldqa", "my-quiz"]}},
        },
        r"presets.mini has two datasets with the paper_column 'realworldqa', mini-realworldqa and my-quiz; remove "
        r"datasets.my-quiz.paper_column",
    ),
    "two datasets of images for a column": (
        {"datasets": {"mini-karr": {"paper_column": "coco"}}},
        r"presets.mini has two datasets with the paper_column 'coco', mini-coco and mini-karr; remove "
        r"datasets.mini-karr.paper_column",
    ),
    "two backbones for a row": (
        {"backbones": {"mini-qwen3vl": {"paper_row": "InternVL3-1B"}}},
        r"presets.mini has two backbones with the paper_row 'InternVL3-1B', mini-internvl and mini-qwen3vl; remove",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_stands_for_what_is_refused_in_one_message(raw_config, fault):
    overlay, message = FAULTS[fault]
    with pytest.raises(SlqError, match=message):
        validate_config(changed(raw_config, **overlay))


def test_two_of_ones_own_stand_beside_each_other(raw_config):
    datasets = {"my-quiz": QUIZ, "her-quiz": QUIZ}
    preset = {"retention_datasets": ["mini-realworldqa", "my-quiz", "her-quiz"]}
    config = validate_config(changed(raw_config, datasets=datasets, presets={"mini": preset}))
    found = [(one["name"], one["paper_name"]) for one in layout(config)["retention_datasets"]]
    assert found[1:] == [("my-quiz", ""), ("her-quiz", "")]
