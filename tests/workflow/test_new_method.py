"""Tests of the example method of docs/methods.md, (IA)³, and of a variant of SLQ, from training to the model card."""

import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from checkout import SLICE, copy_repository, planned, snakemake
from newmethod import ENTRY, NAME, SOURCE, VARIANT, lay_over

BACKBONES = ("mini-internvl", "mini-qwen3vl")
OVERLAY = "new.yaml"
CALL = [*SLICE, OVERLAY]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the repository with one more file and entry, run on both families."""
    folder = copy_repository(tmp_path_factory.mktemp("new-method"))
    (folder / f"workflow/slq/methods/{NAME}.py").write_text(SOURCE)
    entry = lay_over(yaml.safe_load(yaml.safe_dump(VARIANT)), ENTRY)
    mini = entry["presets"]["mini"]
    mini |= {"backbones": list(BACKBONES), "methods": ["base", "slq", "slq-n4", NAME]}
    mini["hyperparameters"]["slq-n4"]["queries"] = 4
    entry["backbones"] = {"mini-qwen3vl": {"pretrain": {"steps": 20, "batch_size": 16}}}
    (folder / OVERLAY).write_text(json.dumps(entry))
    answer = snakemake(folder, *CALL)
    assert answer.returncode == 0, answer.stdout
    return folder


def command(folder, *arguments):
    """Call the `slq` of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "workflow")}
    call = [sys.executable, "-m", "slq.cli", *arguments]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def read(folder, backbone, method, name):
    return json.loads((folder / "results/mini" / backbone / method / "seed1" / name).read_text())


@pytest.mark.slow
@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_trained_and_evaluated(folder, backbone):
    """Only its factors are trained. Its retention is measured, and that of the variant is inherited."""
    run, variant = read(folder, backbone, NAME, "run.json"), read(folder, backbone, "slq-n4", "run.json")
    assert run["weights"]["before"] == run["weights"]["after"] and run["parameters"]["trainable"] > 0
    parent = read(folder, backbone, "slq", "run.json")
    assert variant["parameters"]["trainable"] == 4 * variant["hidden_size"] == 2 * parent["parameters"]["trainable"]
    assert (variant["method"], variant["settings"]["variant_of"]) == ("slq-n4", "slq")
    for one in (NAME, "slq-n4"):
        assert set(read(folder, backbone, one, "retrieval/mini-coco.json")["metrics"]) >= {"t2i", "i2t"}
    assert "score" in read(folder, backbone, NAME, "retention/mini-mmmu.json")["metrics"]
    assert "base/seed0" in read(folder, backbone, "slq-n4", "retention/mini-mmmu.json")["inherits_from"]


@pytest.mark.slow
def test_tables_and_figures_show_both(folder):
    tables = folder / "paper_tables/mini"
    cells = pd.read_csv(tables / "cells.csv")
    table3 = cells[(cells.table == "table3") & cells.row.str.startswith("mini-internvl/")]
    methods = list(table3.row.str.split("/").str[1].drop_duplicates())
    assert methods == ["base", "full_ft", "lora", "slq", "slq-n4", NAME]
    for method in ("slq-n4", NAME):
        states = table3[table3.row == f"mini-internvl/{method}"].state
        assert set(states) <= {"measured", "inherited"}, method
    assert set(table3[table3.row == "mini-internvl/lora"].state) == {"missing"}
    html = (tables / "table3.html").read_text()
    assert "IA3" in html and "SLQ (queries 4)" in html
    points = pd.read_csv(tables / "figures/figures.csv")
    assert {NAME, "slq-n4"} <= set(points.series.str.split("/").str[1])
    colours = re.findall(r"#[0-9a-f]{6}", (tables / "figures/recall.svg").read_text())
    assert {"#cc79a7", "#0072b2"} <= set(colours)


@pytest.mark.slow
def test_nothing_of_it_is_due_again(folder):
    assert planned(folder, *CALL) == {}


@pytest.mark.slow
def test_the_forecast_has_a_row_of_each(folder):
    answer = snakemake(folder, "forecast", *CALL)
    assert answer.returncode == 0, answer.stdout
    for label in ("IA3", "SLQ (queries 4)"):
        assert len(re.findall(rf"^\S.* {re.escape(label)} ", answer.stdout, re.MULTILINE)) == len(BACKBONES)


@pytest.mark.slow
@pytest.mark.parametrize("method", [NAME, "slq-n4"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_run_is_exported(folder, backbone, method):
    """`slq export` itself compares the vectors of the export with those of the run."""
    run, out = f"results/mini/{backbone}/{method}/seed1", f"exports/{backbone}-{method}"
    answer = command(
        folder, "export", run, out, "--config", "config.yaml", "--config", "tests/slice.yaml", "--config", OVERLAY
    )
    assert answer.returncode == 0, answer.stderr
    card = (folder / "exports" / f"{backbone}-{method}" / "README.md").read_text()
    assert card.count({NAME: "# IA3 on", "slq-n4": "# SLQ (queries 4) on"}[method]) == 1
