"""A variant of a method in a preset: its hyperparameters, label and colour, the settings of its jobs, and faults."""

import json

import pytest

from slq.common.errors import SlqError
from slq.config import cost_settings, job_settings
from slq.config.loading import validate_config
from slq.config.runs import list_table_methods, merge_training_resources, merge_training_settings, method_entry
from slq.cost.forecast import forecast_preset
from slq.cost.forecast_table import format_forecast

METHODS = ("base", "full_ft", "lora", "slq")


@pytest.fixture
def with_variant(raw_config):
    """The mini preset with SLQ of four queries beside its own SLQ."""
    preset = raw_config["presets"]["mini"]
    preset["methods"] = ["base", "slq-n4", "full_ft", "lora", "slq"]
    preset["hyperparameters"]["slq-n4"] = {"of": "slq", "queries": 4}
    return raw_config


def settings(config, method):
    return job_settings.train_settings(config, "mini-internvl", method)


def test_what_it_does_not_give_is_its_methods(with_variant):
    config = validate_config(with_variant)
    parent, own = settings(config, "slq"), settings(config, "slq-n4")
    assert own["hyperparameters"] == parent["hyperparameters"] | {"queries": 4}
    assert (own["method"], own["variant_of"]) == ("slq-n4", "slq") and "variant_of" not in parent
    different = {"method", "variant_of", "hyperparameters"}
    assert {key: own[key] for key in own.keys() - different} == {key: parent[key] for key in parent.keys() - different}


@pytest.mark.parametrize("method", METHODS[1:])
def test_settings_of_other_methods_do_not_change_with_it(raw_config, with_variant, method):
    alone = json.loads(json.dumps(with_variant))
    del alone["presets"]["mini"]["hyperparameters"]["slq-n4"]
    alone["presets"]["mini"]["methods"].remove("slq-n4")
    assert settings(with_variant, method) == settings(alone, method)


def test_it_has_a_label_of_what_differs_and_a_lighter_colour(with_variant):
    preset = with_variant["presets"]["mini"]
    preset["hyperparameters"]["slq-late"] = {"of": "slq", "warmup_steps": 40, "init": "zeros", "queries": 8}
    preset["hyperparameters"]["slq-again"] = {"of": "slq"}
    entries = [method_entry(preset, name) for name in ("slq", "slq-n4", "slq-late", "slq-again")]
    assert [one.label for one in entries] == [
        "SLQ",
        "SLQ (queries 4)",
        "SLQ (warmup steps 40, init zeros)",
        "SLQ (slq-again)",
    ]
    brightness = [sum(int(one.color[place : place + 2], 16) for place in (1, 3, 5)) for one in entries]
    assert brightness == sorted(set(brightness)) and entries[0].color == "#0072b2"


def test_its_row_comes_after_the_papers(with_variant):
    assert list_table_methods(with_variant["presets"]["mini"]) == [*METHODS, "slq-n4"]
    layout = job_settings.layout(validate_config(with_variant))
    assert [row["name"] for row in layout["rows"]] == [*METHODS, "slq-n4"]
    assert layout["methods"] == with_variant["presets"]["mini"]["methods"]


@pytest.mark.parametrize("own", [{}, {"slq-n4": {"training": {"batch_size": 16}, "resources": {"hours": 5}}}])
def test_a_backbones_entry_for_its_method_holds_unless_it_has_its_own(with_variant, own):
    backbone = with_variant["backbones"]["mini-internvl"]
    backbone["runs"] = {"slq": {"training": {"batch_size": 64}, "resources": {"hours": 3}}} | own
    preset = validate_config(with_variant)["presets"]["mini"]
    found = merge_training_settings(preset, backbone, "slq-n4")["batch_size"]
    hours = merge_training_resources(preset, backbone, "slq-n4")["hours"]
    assert (found, hours) == ((16, 5) if own else (64, 3))


def test_how_far_a_seed_moves_it_is_its_methods_unless_said(with_variant):
    spread = with_variant["presets"]["mini"]["seed_sd"]
    assert job_settings.compare_settings(validate_config(with_variant))["seed_sd"]["mini"]["slq-n4"] == spread["slq"]
    spread["slq-n4"] = {"recall": 9, "score": 0, "source": "assumed"}
    validate_config(with_variant)
    assert job_settings.compare_settings(with_variant)["seed_sd"]["mini"]["slq-n4"]["recall"] == 9


def test_its_cost_is_that_of_its_own_hyperparameters(with_variant):
    told = cost_settings.forecast_settings(validate_config(with_variant))
    runs, caches = forecast_preset(told)
    found = {run.method: run for run in runs if run.backbone == "mini-internvl"}
    assert found["slq-n4"].disk_gb == found["slq"].disk_gb / 2
    assert found["slq-n4"].flops < found["slq"].flops
    assert "SLQ (queries 4)" in format_forecast(told, runs, caches)
    assert cost_settings.ledger_settings(with_variant)["variants"]["slq-n4"]["variant_of"] == "slq"


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("slq-n4", {"of": "slg", "queries": 4}, r"slq-n4\.of is 'slg'; did you mean 'slq'\?"),
        ("slq-n4", {"of": "base"}, r"slq-n4\.of is 'base'; expected: full_ft, linear_head, lora, lora_queries, slq"),
        ("slq-n8", {"of": "slq-n4"}, r"slq-n8\.of is 'slq-n4'; did you mean 'slq'\?"),
        ("slq-n4", {"of": "slq", "querys": 4}, r"slq-n4\.querys is not a key here; did you mean 'queries'\?"),
        ("slq-n4", {"of": "slq", "queries": 0}, r"slq-n4\.queries is 0; expected at least 1"),
        ("slq-n4", {"queries": 4}, r"hyperparameters\.slq-n4 is not a key here"),
        ("lora", {"of": "slq"}, r"hyperparameters\.lora has `of`, but lora is a method; a variant needs another"),
        ("../slq", {"of": "slq"}, r"hyperparameters is .*\^\[A-Za-z0-9\]"),
    ],
)
def test_a_fault_of_it_is_told_by_its_key(with_variant, name, entry, message):
    preset = with_variant["presets"]["mini"]
    preset["hyperparameters"] |= {name: entry}
    with pytest.raises(SlqError, match=message):
        validate_config(with_variant)


def test_its_method_must_have_an_entry_too(with_variant):
    preset = with_variant["presets"]["mini"]
    preset["methods"] = ["base", "slq-n4"]
    preset["baselines"] = []
    del preset["hyperparameters"]["slq"]
    with pytest.raises(SlqError, match=r"hyperparameters\.slq is missing; its variant slq-n4 needs it"):
        validate_config(with_variant)


def test_it_is_of_one_method_in_all_presets(with_variant):
    with_variant["presets"]["paper"]["hyperparameters"]["slq-n4"] = {"of": "lora"}
    with pytest.raises(SlqError, match=r"paper\.hyperparameters\.slq-n4\.of is 'lora', but 'slq' in another preset"):
        validate_config(with_variant)


@pytest.mark.parametrize("key", ["proposed_method", "cost_baseline"])
@pytest.mark.parametrize("name", ["base", "slq-n4"])
def test_the_papers_method_and_the_cost_baseline_are_methods_that_train(with_variant, key, name):
    with_variant[key] = name
    with pytest.raises(SlqError, match=rf"config: {key} is '{name}'; "):
        validate_config(with_variant)
