"""Trials of the learning-rate search: their rates and names, and that a trial is its method's run at another rate."""

import pytest

from slq.common.errors import SlqError
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.config.runs import entry_name, first_learning_rates, method_entry, trial_name
from slq.training.run import run_key


@pytest.fixture
def config(raw_config):
    """The mini preset with a variant and settings of single runs."""
    preset = raw_config["presets"]["mini"]
    preset["methods"].append("slq-n4")
    preset["hyperparameters"]["slq-n4"] = {"of": "slq", "queries": 4}
    preset["lr_sweep"] = {"center": {"slq": 0.01}, "rates": 6, "factor": 3, "extensions": 2}
    runs = {"slq": {"training": {"batch_size": 64}}, "slq-n4": {"training": {"batch_size": 32}}}
    raw_config["backbones"]["mini-internvl"]["runs"] = runs
    return validate_config(raw_config)


def test_rates_are_a_factor_apart_about_the_centre(config):
    preset = config["presets"]["mini"]
    assert first_learning_rates(preset, "slq") == [0.00037, 0.0011, 0.0033, 0.01, 0.03, 0.09]
    preset["lr_sweep"] |= {"rates": 3, "factor": 10}
    assert first_learning_rates(preset, "slq") == [0.001, 0.01, 0.1]


def test_a_method_without_a_centre_is_searched_about_its_own_rate_and_a_variant_about_its_methods(config):
    preset = config["presets"]["mini"]
    preset["lr_sweep"]["rates"] = 1
    assert first_learning_rates(preset, "lora") == [preset["hyperparameters"]["lora"]["learning_rate"]]
    assert first_learning_rates(preset, "slq-n4") == [0.01]
    preset["lr_sweep"]["center"]["slq-n4"] = 0.02
    assert first_learning_rates(validate_config(config)["presets"]["mini"], "slq-n4") == [0.02]


@pytest.mark.parametrize("method", ["slq", "slq-n4", "full_ft"])
def test_a_trial_differs_from_its_method_only_in_rate_and_name(config, method):
    """Settings of the run on its backbone included; a rate survives the way through the name."""
    rate = 3.7e-05
    trial = trial_name(method, rate)
    assert entry_name(trial) == entry_name(method) == method
    own, parent = (job_settings.train_settings(config, "mini-internvl", name) for name in (trial, method))
    assert own.pop("method") == trial and parent.pop("method") == method
    assert own.pop("variant_of") == parent.pop("variant_of", method)
    assert own.pop("hyperparameters") == parent.pop("hyperparameters") | {"learning_rate": rate}
    assert own == parent
    assert f"{rate:g}" in method_entry(config["presets"]["mini"], trial).label


@pytest.mark.parametrize("method", ["slq", "slq-n4"])
def test_a_trial_whose_rate_is_configured_is_the_same_run(config, method):
    def key(name):
        return run_key(job_settings.train_settings(config, "mini-internvl", name), 1, {"train": "a"}, "code")

    trial = key(trial_name(method, 0.02))
    assert trial != key(method)
    config["presets"]["mini"]["hyperparameters"][method]["learning_rate"] = 0.02
    assert trial == key(method)
    config["presets"]["mini"]["hyperparameters"][method]["warmup_steps"] = 7
    assert trial != key(method)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"learning_rates": [0.1]},
            r"lr_sweep\.learning_rates is not a key here; since version 0\.2\.0 it is 'center'",
        ),
        ({"rates": 0}, r"lr_sweep\.rates is 0; expected at least 1"),
        ({"factor": 1}, r"lr_sweep\.factor is 1; expected at least 1\.5"),
        ({"center": {"slg": 0.1}}, r"lr_sweep\.center\.slg is not a key here; did you mean 'slq'\?"),
    ],
)
def test_a_fault_of_a_search_is_told_by_its_key(raw_config, change, message):
    raw_config["presets"]["mini"]["lr_sweep"] |= change
    with pytest.raises(SlqError, match=message):
        validate_config(raw_config)


def test_what_cannot_be_interpolated_with_base_is_refused_by_name(raw_config):
    raw_config["presets"]["mini"]["frontier"]["interpolated"] = ["lora", "slq"]
    with pytest.raises(SlqError, match=r"mini\.frontier\.interpolated\[1\] is 'slq', which cannot be interpolated"):
        validate_config(raw_config)


def test_the_frontier_has_the_methods_that_the_preset_runs(config):
    config["presets"]["mini"]["methods"].remove("full_ft")
    settings = job_settings.frontier_settings(config)
    assert [point["name"] for point in settings["points"]] == ["lora", "slq"]
    assert [point["fractions"] for point in settings["points"]] == [[0, 0.25, 0.5, 0.75, 1], []]
    assert settings["methods"] == ["base", "lora", "slq"]
