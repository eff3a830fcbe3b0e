"""A method that a part of the package does not know is refused there by its name, and never taken for another."""

from types import SimpleNamespace

import pytest

from slq.common.errors import SlqError, UnknownMethodError
from slq.config import cost_settings, job_settings
from slq.config import loading as configuration
from slq.config.loading import validate_config
from slq.cost.architecture import read_architecture
from slq.cost.flops import ComputePlan, TokenTotals, embed_flops, train_flops
from slq.cost.forecast import forecast_preset
from slq.cost.ledger import spent_flops
from slq.cost.memory import count_trainable_parameters
from slq.reporting.figures import draw_figures
from slq.results.layout import METHODS as LABELS


@pytest.fixture
def architecture(raw_config):
    return read_architecture(raw_config["backbones"]["InternVL3-1B"]["architecture"])


def test_its_flops_are_not_those_of_a_forward_pass(architecture):
    work = TokenTotals.of_equal_length(1, 300, 256)
    with pytest.raises(UnknownMethodError, match=r"there is no method 'mine' in slq/cost/flops\.py; add it there"):
        train_flops(architecture, ComputePlan("mine"), work)
    with pytest.raises(UnknownMethodError, match="'mine'"):
        embed_flops(architecture, ComputePlan.from_hyperparameters("mine", {}), work)


def test_the_ledger_does_not_print_them_as_computed(raw_config):
    backbone = {"architecture": raw_config["backbones"]["InternVL3-1B"]["architecture"]}
    attempt = SimpleNamespace(
        retained_steps=lambda: [SimpleNamespace(token_counts={"text": {"num_messages": 1, "tokens": 30}})]
    )
    with pytest.raises(UnknownMethodError, match="'mine'"):
        spent_flops(backbone, {"mine": {}}, "mine", "train", [attempt])


def test_its_forecast_is_not_of_nothing(raw_config):
    asked = cost_settings.forecast_settings(validate_config(raw_config | {"preset": "paper"}))
    asked["methods"] = [*asked["methods"], "mine"]
    for backbone in asked["backbones"]:
        backbone["training"]["mine"], backbone["gpus"]["mine"] = backbone["training"]["lora"], 1
    with pytest.raises(UnknownMethodError, match="'mine'"):
        forecast_preset(asked)


def test_how_much_it_trains_is_not_nothing(architecture):
    with pytest.raises(UnknownMethodError, match=r"cost/memory\.py; add it there: how many numbers it trains"):
        count_trainable_parameters(architecture.text, "mine", {})


@pytest.mark.parametrize(("method", "size"), [("slq", "queries"), ("lora", "rank")])
def test_a_known_method_without_its_size_is_not_one_of_size_zero(method, size):
    with pytest.raises(SlqError, match=rf"config: hyperparameters\.{method}\.{size} is missing"):
        ComputePlan.from_hyperparameters(method, {"learning_rate": 0.1})


def test_the_configuration_refuses_it_by_its_key(raw_config, monkeypatch):
    preset = raw_config["presets"]["mini"]
    preset["methods"] = [*preset["methods"], "mine"]
    with pytest.raises(SlqError, match=r"presets\.mini\.methods\[4\] is 'mine'"):
        validate_config(raw_config)
    monkeypatch.setattr(configuration, "check_schema", lambda *arguments: None)  # a schema that knows it
    preset["hyperparameters"]["mine"] = {"learning_rate": 0.1, "warmup_steps": 0}
    with pytest.raises(UnknownMethodError, match=r"'mine' in slq/config/baselines\.py.*presets\.mini\.methods"):
        validate_config(raw_config)


def test_figures_have_no_colour_for_it(raw_config, monkeypatch, tmp_path):
    monkeypatch.setitem(LABELS, "mine", "Mine")
    layout = job_settings.layout(validate_config(raw_config))
    with pytest.raises(UnknownMethodError, match=r"'mine' in slq/reporting/style\.py"):
        draw_figures(layout | {"methods": ["base", "mine"]}, tmp_path / "results", tmp_path)
