"""A preset that extends another contains only the differences."""

import copy

import pytest

from slq.common.errors import SlqError
from slq.config.job_settings import layout, train_settings
from slq.config.loading import validate_config


def extended(raw_config, **preset):
    raw_config["presets"]["mine"] = preset
    return validate_config(raw_config | {"preset": "mine"})


def test_it_is_the_other_with_its_own_settings_laid_over(raw_config):
    mini = copy.deepcopy(raw_config["presets"]["mini"])
    found = extended(raw_config, extends="mini", training={"epochs": 3}, methods=["base", "slq"])["presets"]
    assert found["mine"] == mini | {"training": mini["training"] | {"epochs": 3}, "methods": ["base", "slq"]}
    assert found["mini"] == mini  # the extended preset is unchanged


def test_one_extends_one_that_extends_another(raw_config):
    raw_config["presets"]["first"] = {"extends": "mini", "dtype": "float64"}
    found = extended(raw_config, extends="first")
    assert found["presets"]["mine"] == found["presets"]["first"] == raw_config["presets"]["mini"] | {"dtype": "float64"}


def test_its_jobs_are_those_of_the_other_but_for_its_name(raw_config):
    config = extended(raw_config, extends="mini")
    for build in (lambda one: train_settings(one, "mini-internvl", "slq"), layout):
        mine, mini = build(config), build(config | {"preset": "mini"})
        assert mine == mini | {"preset": "mine"}


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ({"mine": {"extends": "mimi"}}, "config: presets.mine.extends is 'mimi'; did you mean 'mini'?"),
        ({"mine": {"extends": "mine"}}, "config: presets.mine.extends is 'mine', which extends mine itself"),
        (
            {"mine": {"extends": "other"}, "other": {"extends": "mine"}},
            "config: presets.other.extends is 'mine', which extends other itself",
        ),
        ({"mine": {"extends": "mini", "epochs": 3}}, "presets.mine.epochs"),
        ({"mine": {"extends": ["mini"]}}, "config: presets.mine.extends is '['mini']'"),
    ],
)
def test_a_fault_is_one_message(raw_config, presets, message):
    raw_config["presets"] |= presets
    with pytest.raises(SlqError) as fault:
        validate_config(raw_config)
    assert message in str(fault.value)
