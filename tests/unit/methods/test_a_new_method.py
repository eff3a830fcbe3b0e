"""docs/methods.md: an external method, (IA)³, is found, checked, built on both families, costed and exported."""

import ast
from copy import deepcopy

import numpy as np
import pytest
import torch

import exported
from counting import SHAPES, counted, make_case
from exported import BACKBONES, INPUTS, Lab
from newmethod import ENTRY, NAME, SOURCE, VARIANT, added, lay_over
from slq.common.errors import SlqError
from slq.config import cost_settings, job_settings
from slq.config.loading import validate_config
from slq.config.runs import list_table_methods, method_entry
from slq.cost.flops import train_flops
from slq.cost.forecast import forecast_preset
from slq.cost.forecast_table import format_forecast
from slq.export.folder import load_export
from slq.methods.adapter import build_retriever
from slq.methods.registry import Method, find_method

PARTS = [part for part in Method.__annotations__ if part != "name"] + sorted(Method.__abstractmethods__)


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    with added(tmp_path_factory.mktemp("methods")):
        yield find_method(NAME)


def without(part: str) -> str:
    """Source of the file with one part of its class removed."""
    tree = ast.parse(SOURCE)
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    kept = [
        node
        for node in found.body
        if getattr(node, "name", None) != part
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == part)
    ]
    assert len(kept) == len(found.body) - 1
    found.body = kept
    return ast.unparse(tree)


@pytest.mark.parametrize("part", PARTS)
def test_a_class_without_a_part_is_refused_by_one_message(raw_config, tmp_path, part):
    assert len(PARTS) == 12
    with (
        added(tmp_path, without(part)),
        pytest.raises(SlqError, match=rf"^slq/methods/ia3\.py: the class InfusedAdapter has no `{part}`.* add it"),
    ):
        validate_config(lay_over(raw_config, ENTRY))


def test_its_entry_is_checked_by_its_own_schema(method, raw_config):
    config = validate_config(lay_over(raw_config, ENTRY))
    assert list_table_methods(config["presets"]["mini"])[-1] == NAME
    assert job_settings.train_settings(config, "mini-internvl", NAME)["hyperparameters"] == {
        "learning_rate": 0.01,
        "warmup_steps": 20,
    }
    config["presets"]["mini"]["hyperparameters"][NAME]["rank"] = 8
    with pytest.raises(SlqError, match=r"hyperparameters\.ia3\.rank is not a key here"):
        validate_config(config)


@pytest.mark.parametrize("cache", ["batch", "kv"])
def test_it_cannot_read_cached_prefixes(method, raw_config, cache):
    lay_over(raw_config, ENTRY)
    raw_config["backbones"]["mini-internvl"]["runs"] = {NAME: {"training": {"image_cache": cache}}}
    with pytest.raises(
        SlqError,
        match=rf"image_cache is '{cache}' for ia3 on mini-internvl, which trains parameters that this cache depends on",
    ):
        validate_config(raw_config)


def test_the_pages_variant_is_one(raw_config):
    config = validate_config(lay_over(raw_config, VARIANT))
    entry = method_entry(config["presets"]["mini"], "slq-n4")
    assert (entry.label, entry.hyperparameters["queries"]) == ("SLQ (queries 4)", 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_its_closed_form_is_what_torch_counts(method, shape):
    case = make_case(shape)
    retriever = build_retriever(NAME, case.backbone(), {}, seed=0)
    plan = case.plan(NAME, {})
    assert sum(weight.numel() for weight in retriever.trainable_parameters()) == plan.num_trainable > 0
    seen, _ = counted(retriever.embed, case.batches)
    assert case.closed(train_flops, plan) == pytest.approx(seen, rel=0.03)


def test_the_forecast_has_a_row_of_it(method, raw_config):
    told = cost_settings.forecast_settings(validate_config(lay_over(raw_config, ENTRY)))
    runs, caches = forecast_preset(told)
    rows = [line for line in format_forecast(told, runs, caches).splitlines() if " IA3 " in line]
    assert len(rows) == len(told["backbones"]) == 2
    flops = {run.method: run.flops for run in runs if run.backbone == "mini-internvl"}
    assert flops["slq"] < flops[NAME] < flops["lora"] < flops["full_ft"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_its_export_has_the_vectors_of_the_run(method, tmp_path, backbone, monkeypatch):
    """The factors are near one but not one; the export is loaded as users load it, with the run's own files."""
    monkeypatch.setattr(exported, "CONFIG", lay_over(deepcopy(exported.CONFIG), ENTRY))
    lab = Lab(tmp_path)
    vectors, plain = lab.vectors(backbone, NAME), lab.vectors(backbone, "base")
    assert (vectors * plain).sum(1).max() < 0.9999
    model = load_export(lab.export(backbone, NAME), [])
    found = np.concatenate([model.encode([item]) for item in INPUTS])
    assert torch.allclose(torch.from_numpy(found), vectors, atol=1e-4)
