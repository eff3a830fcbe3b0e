"""Required results of the baselines after `make reproduce`."""

import csv

import pytest
from test_claims import BACKBONES, TABLES, read

RETRIEVAL = ("mini-flickr30k", "mini-coco")


@pytest.mark.parametrize("name", ["mini-clip", "mini-blip"])
def test_a_small_dual_encoder_finds_unseen_scenes(name):
    assert read("baselines", name, "retrieval", "mini-coco.json")["metrics"]["t2i"]["R@5"] >= 60


@pytest.mark.parametrize("benchmark", RETRIEVAL)
@pytest.mark.parametrize("first_stage", ["base/seed0", "slq/seed1"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_re_ranking_moves_only_the_first_five(backbone, first_stage, benchmark):
    baseline = f"{backbone}.{first_stage.split('/')[0]}.by.base"
    before, after = (
        read(folder, "retrieval", f"{benchmark}.json")["metrics"]
        for folder in (f"{backbone}/{first_stage}", f"baselines/{baseline}")
    )
    for direction in ("t2i", "i2t"):
        assert after[direction]["R@1"] <= before[direction]["R@5"]
        assert after[direction]["R@5"] == pytest.approx(before[direction]["R@5"], abs=1)  # but for ties at rank 5


@pytest.mark.parametrize("backbone", BACKBONES)
def test_read_out_without_training_finds_little(backbone):
    for readout in ("mini_one_word", "zero_queries"):
        assert read(f"baselines/{backbone}.{readout}", "retrieval", "mini-coco.json")["metrics"]["t2i"]["R@5"] <= 60


def test_the_extended_table_has_every_row_of_the_papers_and_ours():
    with open(TABLES / "cells.csv", newline="") as file:
        cells = [cell for cell in csv.DictReader(file) if cell["table"] == "table1_extended"]
    rows = list(dict.fromkeys(cell["row"] for cell in cells))
    quoted = {cell["row"] for cell in cells if cell["state"] == "quoted"}
    assert {"CLIP ViT-B", "CLIP ViT-L", "BLIP ViT-L", "FLAME", "E5-V-7B", "TiGeR", "VLM2VEC-7B", "RetLLM"} == quoted
    ours = [row for row in rows if row.startswith("baselines/")]
    assert len(ours) == 4 + 2 * 2 + 2 * 2 and len(rows) == len(quoted) + len(ours) + 2 * 4
    assert all(cell["low"] and cell["high"] for cell in cells if cell["state"] == "measured")
