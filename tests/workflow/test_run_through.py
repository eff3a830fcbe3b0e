"""Tests of the paper preset from servers on loopback to its tables, with smaller sizes in config.yaml."""

import csv
import json
import os

import pytest
import yaml

from checkout import copy_repository, snakemake
from papersources import in_small
from standins import put_photos, read_raw_config, served, widen_tolerances

pytestmark = pytest.mark.slow  # ten minutes of processor time
PAPER = ["--cores", "2", "--configfile", "small.yaml", "--config", "preset=paper", "--"]
SOURCES = ("coco", "flickr30k", "mmmu", "realworldqa", "ocrbench")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """A copy of the repository with all sources of the paper preset fetched; the servers have stopped."""
    folder = copy_repository(tmp_path_factory.mktemp("paper"))
    (folder / "small.yaml").write_text(yaml.safe_dump(in_small(read_raw_config())))
    put_photos(folder)
    widen_tolerances(folder)
    with served(tmp_path_factory.mktemp("hub")) as environment:
        answer = snakemake(folder, *PAPER, "fetch", HF_HOME=str(folder / "hf"), **environment)
        assert answer.returncode == 0, answer.stdout
    return folder


def test_every_source_is_there_and_locked(fetched):
    locks = {path.stem for path in (fetched / "sources.lock").iterdir()}
    assert locks == {*SOURCES, "InternVL3-1B", "Qwen3-VL-2B", "CLIP-ViT-B-32", "E5-V", "VLM2Vec"}
    manifest = json.loads((fetched / "scratch/sources/coco/manifest.json").read_text())
    assert len(manifest["files"]) == 24 + 3 and "val2014/COCO_val2014_000000000009.jpg" in manifest["files"]
    backbones = {path.parent.name for path in fetched.glob("scratch/backbones/*/manifest.json")}
    assert backbones == {"InternVL3-1B", "Qwen3-VL-2B", "E5-V", "VLM2Vec"}
    assert not list(fetched.glob("scratch/**/*.bin")) and not list(fetched.glob("scratch/**/*.zip*"))


def test_without_a_network_the_paper_preset_ends_in_its_tables(fetched):
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "SLQ_MIRROR": "http=http://127.0.0.1:9/"}
    answer = snakemake(fetched, *PAPER, "all", timeout=3000, **nowhere)
    assert answer.returncode == 0, answer.stdout
    tables = fetched / "paper_tables/paper"
    for name in ("table1", "table3", "gpu_hours"):
        for label in ("InternVL3-1B", "Qwen3VL-2B"):
            assert label in (tables / f"{name}.tex").read_text()
    with open(tables / "cells.csv") as file:
        cells = [row for row in csv.DictReader(file) if row["table"] in ("table1", "table3")]
    ours = [row for row in cells if row["state"] in ("measured", "inherited")]
    assert {source for row in ours for source in row["source"].split("; ")} >= {
        f"results/paper/{backbone}/{method}/seed{seed}/retrieval/{name}.json"
        for backbone in ("InternVL3-1B", "Qwen3-VL-2B")
        for method, seed in (("base", 0), ("full_ft", 1), ("lora", 1), ("slq", 1))
        for name in ("coco", "flickr30k")
    }
    assert os.path.getsize(fetched / "results/paper/reference_check.json") > 0
