"""A third family from one adapter file and one configuration entry, through every stage, with no other edit."""

import json
import shutil
import sys

import pandas as pd
import pytest
import torch
import yaml

import slq.models.families
from checkout import ROOT, copy_repository, planned, snakemake
from oracles import CASES, compare_with_the_whole_sequence, messages, sharpen, untrained
from slq.methods.adapter import build_retriever
from slq.models.prefix import collate, tokenize_message
from slq.models.retriever import LatentQueryRetriever, initial_queries

ADDED = ROOT / "tests" / "third_family"
ADAPTER, ENTRY = ADDED / "llava.py", ADDED / "llava.yaml"
FAMILIES = "workflow/slq/models/families"
SLICE = ["--cores", "2", "--configfile", "tests/slice.yaml", ENTRY.name]
NAME, LABEL = "mini-llava", "LLaVA-mini"


def sources(folder):
    """Bytes of the files that a person maintains in a copy of the repository, by path."""
    kept = [folder / name for name in ("Snakefile", "config.yaml", "tests/slice.yaml")]
    for name in ("workflow", "slurm", "envs", "paper_tables/reference", "paper_tables/templates"):
        kept += [path for path in (folder / name).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Copy of the repository in which the slice ran with the new family, and its sources before and after.

    It takes half a minute, so it runs in `make test-all`.
    """
    folder = copy_repository(tmp_path_factory.mktemp("third"))
    before = sources(folder)
    shutil.copy(ADAPTER, folder / FAMILIES)
    shutil.copy(ENTRY, folder)
    answer = snakemake(folder, *SLICE)
    assert answer.returncode == 0, answer.stdout
    return folder, before, sources(folder)


@pytest.mark.slow
def test_it_takes_one_adapter_file_and_one_entry(finished):
    _, before, after = finished
    assert after.keys() - before.keys() == {f"{FAMILIES}/{ADAPTER.name}"}
    assert {path: after[path] for path in before} == before
    assert len(ADAPTER.read_text().splitlines()) <= 40
    entry = yaml.safe_load(ENTRY.read_text())
    assert entry.pop("presets") == {"mini": {"backbones": [NAME], "methods": ["base", "slq"]}}
    assert list(entry) == ["backbones"] and list(entry["backbones"]) == [NAME]


@pytest.mark.slow
def test_it_runs_through_every_stage(finished):
    folder, _, _ = finished
    preset = yaml.safe_load((folder / "config.yaml").read_text())["presets"]["mini"]
    assert preset["retrieval_datasets"] and preset["retention_datasets"]
    for method, seed in (("base", 0), ("slq", 1)):
        run = folder / "results/mini" / NAME / method / f"seed{seed}"
        record = json.loads((run / "run.json").read_text())
        assert (record["backbone"], record["method"], record["hidden_size"]) == (NAME, method, 64)
        assert record["parameters"]["trainable"] == record["settings"]["hyperparameters"].get("queries", 0) * 64
        assert record["weights"]["before"] == record["weights"]["after"]
        assert record["provenance"]["image_processor"] == "CLIPImageProcessorPil"
        for kind, keys in (("retrieval", {"t2i", "i2t"}), ("retention", {"score", "accuracy"})):
            for name in preset[f"{kind}_datasets"]:
                content = json.loads((run / kind / f"{name}.json").read_text())
                if (kind, method) == ("retention", "slq"):  # inherited
                    content = json.loads((folder / "results/mini" / content["inherits_from"]).read_text())
                assert set(content["metrics"]) >= keys
    config = json.loads((folder / "scratch/backbones" / NAME / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]


@pytest.mark.slow
def test_the_tables_show_it(finished):
    folder, _, _ = finished
    tables = folder / "paper_tables/mini"
    for name in ("table1", "table3", "gpu_hours"):
        for kind in ("tex", "html"):
            assert LABEL in (tables / f"{name}.{kind}").read_text()
    cells = pd.read_csv(tables / "cells.csv")
    assert "measured" in set(cells[(cells.table == "table3") & (cells.row == f"{NAME}/slq")].state)


@pytest.mark.slow
def test_only_its_own_adapter_makes_its_runs_out_of_date(finished):
    """Adding a family or editing another's adapter re-runs nothing."""
    folder, _, _ = finished
    families = folder / FAMILIES
    own, other, more = families / ADAPTER.name, families / "internvl.py", families / "more.py"
    texts = {path: path.read_text() for path in (own, other)}
    more.write_text(texts[own])
    other.write_text(texts[other] + "SIDE = 1\n")
    assert planned(folder, *SLICE) == {}
    own.write_text(texts[own] + "SIDE = 1\n")
    rerun = planned(folder, *SLICE)
    more.unlink()
    for path, text in texts.items():
        path.write_text(text)
    assert {"pretrain_backbone", "train", "evaluate_retrieval", "evaluate_retention"} <= rerun.keys()


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """Untrained, sharpened backbone of the new entry, whose adapter is found beside the package's own."""
    monkeypatch.setattr(slq.models.families, "__path__", [*slq.models.families.__path__, str(ADDED)])
    yield sharpen(untrained(NAME, yaml.safe_load(ENTRY.read_text())["backbones"][NAME], tmp_path))
    del sys.modules["slq.models.families.llava"]


@pytest.mark.parametrize("case", CASES)
def test_two_calls_equal_the_whole_sequence(backbone, case):
    queries = initial_queries(4, backbone.hidden_size, "normal", torch.Generator().manual_seed(0))
    batch = [tokenize_message(backbone, parts) for parts in messages(backbone, case)]
    compare_with_the_whole_sequence(LatentQueryRetriever(backbone, queries), batch)


def test_its_positions_are_the_stock_forwards(backbone):
    """Without padding, the stock forward with its own positions gives the same hidden states as the adapter."""
    inputs = collate(
        backbone, [tokenize_message(backbone, parts) for parts in messages(backbone, "text after image")[:1]]
    )
    with torch.no_grad():
        ours = backbone.inner(**inputs).last_hidden_state
        stock = backbone.inner(**{name: inputs[name] for name in inputs.keys() - {"position_ids"}}).last_hidden_state
    assert (ours - stock).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("method", "hyperparameters"), [("full_ft", {}), ("lora", {"rank": 2, "alpha": 4, "dropout": 0.0})]
)
def test_the_other_methods_tune_its_language_model(backbone, method, hyperparameters):
    """Modules that the methods name exist in a new family too: the language model, with seven linear maps per layer."""
    language_model = {f"model.language_model.{name}" for name, _ in backbone.inner.language_model.named_parameters()}
    linear = {name.removesuffix(".weight") for name in language_model if name.endswith("_proj.weight")}
    assert len(linear) == 3 * 7
    retriever = build_retriever(method, backbone, hyperparameters, seed=0)
    retriever.embed([tokenize_message(backbone, parts) for parts in messages(backbone, "mixed")]).sum().backward()
    reached = {name for name, parameter in backbone.model.named_parameters() if parameter.grad is not None}
    updates = {f"{name}.lora_{part}.default.weight" for name in linear for part in "AB"}
    assert reached == (updates if method == "lora" else language_model)


def test_the_default_preset_is_planned_with_it(checkout):
    """Rows of config.yaml that re-rank and compare are planned too; jobs without a closed form request the default."""
    shutil.copy(ADAPTER, checkout / FAMILIES)
    shutil.copy(ENTRY, checkout)
    plan = planned(checkout, "tables", "--cores", "1", "--configfile", ENTRY.name)
    assert plan["train"] == 1 and plan["evaluate_baseline"] == 8
