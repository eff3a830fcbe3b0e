"""The decisions of a plan: its hash changes with them, and with nothing else."""

import copy

import pytest
import yaml

from checkout import ROOT
from slq.common.errors import SlqError
from slq.config.loading import validate_config
from slq.config.plan_settings import CLAIMS_FILE, decisive_preset, plan_hash, plan_settings

CLAIMS = yaml.safe_load(CLAIMS_FILE.read_text())
DECIDED = {
    "seeds": lambda raw: raw.update(seeds=[1, 2, 3]),
    "one seed": lambda raw: raw.update(seed=2),
    "a backbone less": lambda raw: raw["presets"]["mini"].update(backbones=["mini-internvl"]),
    "a method less": lambda raw: raw["presets"]["mini"].update(methods=["base", "slq"]),
    "a dataset less": lambda raw: raw["presets"]["mini"]["retention_datasets"].pop(),
    "a rate": lambda raw: raw["presets"]["mini"]["hyperparameters"]["slq"].update(learning_rate=0.2),
    "epochs of one backbone": lambda raw: raw["backbones"]["mini-internvl"].update(training={"epochs": 2}),
    "the checkpoint": lambda raw: raw["presets"]["mini"]["training"].update(checkpoint_selection="best"),
    "the search": lambda raw: raw["presets"]["mini"]["lr_sweep"].update(rates=7),
    "a scorer": lambda raw: raw["presets"]["mini"]["evaluation"]["scorers"].update(realworldqa="first-letter-1"),
    "how far a seed moves": lambda raw: raw["presets"]["mini"]["seed_sd"]["lora"].update(recall=5),
    "where that comes from": lambda raw: raw["presets"]["mini"]["seed_sd"]["lora"].update(source="assumed"),
    "the level": lambda raw: raw["compare"].update(level=0.01),
    "the size of a test split": lambda raw: raw["datasets"]["mini-coco"]["synthetic"]["scenes"].update(test=100),
    "a leak": lambda raw: raw["presets"]["mini"].update(allow_leak=True),
}
NOT_DECIDED = {
    "a label": lambda raw: raw["datasets"]["mini-coco"].update(label="our COCO"),
    "speed": lambda raw: raw["accounting"].update(mfu=[0.2, 0.3]),
    "memory": lambda raw: raw["presets"]["mini"]["training"].update(
        micro_batch_size=16, grad_cache=True, num_workers=2
    ),
    "hours of jobs": lambda raw: raw["presets"]["mini"]["resources"]["train"].update(hours=9),
    "another preset": lambda raw: raw["presets"]["paper"]["training"].update(epochs=1),
    "scratch": lambda raw: raw.update(scratch="elsewhere"),
}


def hash_after(raw_config, change):
    raw = copy.deepcopy(raw_config)
    change(raw)
    return plan_hash(validate_config(raw))


@pytest.mark.parametrize("change", DECIDED.values(), ids=DECIDED)
def test_a_decision_changes_the_hash(raw_config, change):
    assert hash_after(raw_config, change) != hash_after(raw_config, lambda raw: None)


@pytest.mark.parametrize("change", NOT_DECIDED.values(), ids=NOT_DECIDED)
def test_what_decides_nothing_leaves_the_hash(raw_config, change):
    assert hash_after(raw_config, change) == hash_after(raw_config, lambda raw: None)


def test_of_a_claim_the_test_is_decided_and_not_its_wording(raw_config, tmp_path):
    config, found = validate_config(raw_config), []
    for key, value in (("sentence", "other words"), ("test", {**CLAIMS["claims"][0]["test"], "datasets": ["coco"]})):
        claims = copy.deepcopy(CLAIMS)
        claims["claims"][0][key] = value
        (tmp_path / "claims.yaml").write_text(yaml.safe_dump(claims))
        found.append(plan_hash(config, tmp_path / "claims.yaml"))
    assert found[0] == plan_hash(config) != found[1]


@pytest.mark.parametrize("text", ["claims: 3", "claims: [{id: a}]", "[]", "claims: [a, b]", "other: []"])
def test_claims_without_tests_are_one_message(raw_config, tmp_path, text):
    (tmp_path / "claims.yaml").write_text(text)
    with pytest.raises(SlqError, match=r"claims\.yaml: expected `claims`, a list of entries with an `id` and a `test`"):
        plan_hash(validate_config(raw_config), tmp_path / "claims.yaml")


def test_the_cheapest_decisive_experiment_is_a_preset_that_another_names(raw_config):
    config = validate_config(raw_config)
    named = plan_settings(config | {"preset": "paper"})["decisive"]
    assert named["layout"]["preset"] == "paper-decisive" and named["decisions"]["seeds"] == [1, 2, 3]
    assert named == plan_settings(config | {"preset": "paper-decisive"}), "it does not name itself"
    assert decisive_preset(config) is None and "decisive" not in plan_settings(config)
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["presets"]["mini"]["decisive_preset"] = "papre"
    with pytest.raises(SlqError, match="decisive_preset is 'papre', which is not under presets; did you mean 'paper'"):
        validate_config(raw)
