"""Runs, exports and indices with random faults (hypothesis, tests/odd.py): a correct result, or one message."""

import shutil

import numpy as np
import pytest
from hypothesis import given

from exported import Lab
from odd import FEW_AND_MANY, damaged, odd_json, outcome, run
from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.common.snapshots import write_manifest
from slq.export.search import Index, load_local_export, read_export_manifest
from slq.export.trained_run import find_run
from slq.models.backbone import Backbone


@FEW_AND_MANY
def test_an_index_of_a_search(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("index") / "index.safetensors"
    vectors = {name: np.ones(3, np.float32) for name in "ab"}
    Index(path, vectors, {"/a.png": (1, 2, "a"), "/b.png": (1, 2, "b")}).write()

    @given(damaged(path.read_bytes()))
    def check(data):
        path.write_bytes(data)
        found = outcome(Index.read, path)
        assert found is None or all(len(vector) for vector in found.vectors.values())

    run(check, times)


@FEW_AND_MANY
@pytest.mark.parametrize("name", ["run.json", "adapter.json", "manifest.json"])
def test_a_run(tmp_path_factory, name, times):
    root = tmp_path_factory.mktemp("run")
    folders = {"run.json": "results/mini/a/slq/seed1", "adapter.json": "scratch/runs/mini/a/slq/seed1"}
    path = root / folders.get(name, "scratch/backbones/a") / name
    write_manifest(root / "scratch/backbones/a", {}, {"model.safetensors": "x"})
    sha256 = read_json(root / "scratch/backbones/a/manifest.json")["sha256"]
    settings = {"family": "internvl", "dtype": "float32", "prompt": {"text": "", "image": ""}}
    write_json(root / folders["run.json"] / "run.json", {"schema": 2, "backbone": "a", "settings": settings})
    adapter = {"schema": 2, "method": "slq", "backbone_sha256": sha256, "hyperparameters": {}, "temperature": 0.1}
    write_json(root / folders["adapter.json"] / "adapter.json", adapter)
    valid, config = read_json(path), {"scratch": str(root / "scratch")}
    assert find_run(root / folders["run.json"], config)

    @given(odd_json(valid))
    def check(data):
        path.write_bytes(data)
        found = outcome(find_run, root / folders["run.json"], config)
        assert found is None or isinstance(found.settings["family"], str)

    run(check, times)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab")).export("mini-internvl", "slq")


FILES = ["manifest.json", "retriever.json", "modules.json", "adapter_config.json", "adapter_model.safetensors"]


@FEW_AND_MANY
@pytest.mark.parametrize("name", FILES)
def test_an_export(export, tmp_path_factory, name, times):
    folder = shutil.copytree(export, tmp_path_factory.mktemp("export") / "mine")
    path, whole = folder / name, (export / name).read_bytes()

    def load(folder):
        read_export_manifest(folder)
        return name == "manifest.json" or load_local_export(folder, folder.parent)

    @given(damaged(whole) if name.endswith(".safetensors") else odd_json(read_json(path)))
    def check(data):
        path.write_bytes(data)
        outcome(load, folder)

    run(check, times)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"])
def test_a_backbone_of_which_a_file_is_damaged(export, tmp_path, name):
    """The file is cut off, as by a full disk, or has other content, as from a proxy."""
    snapshot = export.parents[1] / "scratch/backbones/mini-internvl"
    folder = shutil.copytree(snapshot, tmp_path / "mine")
    whole = (snapshot / name).read_bytes()
    for data in (whole[: len(whole) // 2], b"[]"):
        (folder / name).write_bytes(data)
        with pytest.raises(SlqError, match=f"^{folder}: transformers: "):
            Backbone.load(folder, "internvl")
