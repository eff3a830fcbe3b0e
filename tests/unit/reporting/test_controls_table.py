"""Table G: which methods differ in one factor, their rows and differences, and what `snakemake evidence` asks for."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from slq.common.errors import SlqError
from slq.config import job_settings
from slq.config.evidence import require_evidence
from slq.config.loading import validate_config
from slq.config.runs import list_controls
from slq.reporting.controls import pairs_in_one_factor
from slq.results.layout import parse_layout
from stored import CPU, MINI, Runs, cell, entries, rows, tables, write_ranks

CONTROLS = ["base", "lora", "slq", "linear_head", "lora_queries"]
PAIRS = {
    ("lora", "base"): "LoRA - frozen | last token",
    ("slq", "base"): "queries - last token | frozen",
    ("linear_head", "base"): "linear head - last token | frozen",
    ("linear_head", "slq"): "linear head - queries | frozen",
    ("lora_queries", "lora"): "queries - last token | LoRA",
    ("lora_queries", "slq"): "LoRA - frozen | queries",
}
IMAGES = 40
MISSED = {"base": 20, "lora": 10, "slq": 4, "linear_head": 20}  # images not found; lora_queries was not run


@pytest.fixture
def evidence_config(raw_config):
    return validate_config(raw_config) | {"preset": "mini-evidence"}


def layout(config, methods):
    preset = config["presets"]["mini-evidence"]
    preset["methods"] = methods
    return MINI | {
        "preset": "mini-evidence",
        "rows": job_settings.layout(config)["rows"],
        "controls": job_settings.layout(config)["controls"],
        "methods": methods,
        "backbones": entries(("a", "A", "")),
        "retrieval_datasets": entries(("c", "C", "coco")),
        "retention_datasets": [],
    }


def test_pairs_differ_in_exactly_one_factor_and_cover_every_question(evidence_config):
    controls = parse_layout(layout(evidence_config, ["base", "full_ft", *CONTROLS[1:]])).controls
    assert sorted(one.name for one in controls) == sorted(CONTROLS), "nothing shares full_ft's adaptation"
    assert {(late.name, early.name) for late, early in pairs_in_one_factor(controls)} == set(PAIRS)


def test_controls_are_a_table_only_where_both_factors_vary(evidence_config):
    preset = evidence_config["presets"]["mini-evidence"]
    assert list_controls(evidence_config["presets"]["mini"]) == []
    for methods, there in (
        (["base", "lora", "slq"], False),
        (["base", "lora", "slq", "linear_head"], False),
        (["base", "lora", "slq", "lora_queries"], True),
    ):
        preset["methods"] = methods
        assert bool(list_controls(preset)) is there


def test_a_variant_is_no_control(evidence_config):
    """It differs from its method in a hyperparameter, which is neither factor."""
    preset = evidence_config["presets"]["mini-evidence"]
    preset["hyperparameters"]["slq-n4"] = {"of": "slq", "queries": 4}
    preset["methods"].append("slq-n4")
    assert "slq-n4" not in list_controls(preset)


def test_rows_differences_and_a_control_that_was_not_run(evidence_config, tmp_path: Path):
    runs = Runs(tmp_path / "results", "mini-evidence")
    for method, missed in MISSED.items():
        runs.run("a", method, 0 if method == "base" else 64, None if method == "base" else CPU)
        best = [20] * missed + [1] * (IMAGES - missed)
        write_ranks(runs.folder("a", method) / "retrieval/c.json", list(np.repeat(best, 5)), best)
    table = tables(layout(evidence_config, CONTROLS), tmp_path / "results")["controls"]
    assert cell(table, "a/slq", "c t2i R@5").text == "90.0"
    assert cell(table, "a/lora_queries", "c t2i R@5").state == "missing"
    labels = {key: row.label.replace("\N{MINUS SIGN}", "-") for key, row in rows(table).items()}
    assert all(labels[f"a/{late} minus {early}"] == label for (late, early), label in PAIRS.items())
    expected = {("slq", "base"): 40.0, ("lora", "base"): 25.0, ("linear_head", "base"): 0.0}
    for pair, value in expected.items():
        difference = cell(table, "a/{} minus {}".format(*pair), "c t2i R@5")
        assert difference.value == value and difference.low <= value <= difference.high
    assert cell(table, "a/lora_queries minus slq", "c t2i R@5").state == "missing"


def test_a_preset_without_controls_has_no_such_table(tmp_path: Path):
    assert "controls" not in tables(MINI, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"preset": "mini"},
            r"^evidence: preset mini has 1 seed and no linear_head and no lora_queries .*=mini-evid",
        ),
        ({"seed": 2}, r"^evidence: preset mini-evidence has 1 seed; expected at least 3 seeds"),
    ],
)
def test_evidence_of_too_little_is_one_message(evidence_config, change, message):
    require_evidence(evidence_config)
    with pytest.raises(SlqError, match=message):
        require_evidence(evidence_config | change)


def test_evidence_without_a_control_is_one_message(evidence_config):
    config = deepcopy(evidence_config)
    config["presets"]["mini-evidence"]["methods"].remove("linear_head")
    with pytest.raises(SlqError, match=r"preset mini-evidence has no linear_head among its methods; .* add to presets"):
        require_evidence(config)
