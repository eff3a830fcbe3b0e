"""Snapshots that are real in all but weights: from the archive in tests/data, or a folder that SLQ_SNAPSHOTS names.

The folder holds a folder for each model, named as in config.yaml, laid out as the hub's repository; weights in it are
not read.
"""

import os
from pathlib import Path

import pytest

from slq.config.loading import load_merged_config
from slq.models.backbone import Backbone
from snapshots.made import make
from snapshots.pack import ARCHIVE, unpack

ROOT = Path(__file__).parents[2]
BACKBONES = ("InternVL3-1B", "InternVL3-8B", "Qwen3-VL-2B", "Qwen3-VL-4B", "VLM2Vec", "E5-V")


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory):
    """The folder of the small files."""
    if named := os.environ.get("SLQ_SNAPSHOTS"):
        assert Path(named).is_dir(), f"SLQ_SNAPSHOTS: {named} is no folder"
        return Path(named)
    folder = tmp_path_factory.mktemp("snapshots")
    unpack(ARCHIVE, folder)
    return folder


@pytest.fixture(scope="session")
def small(snapshots):
    """The folder of a model's small files, by its name in config.yaml; a test of one that is absent is skipped."""

    def find(name):
        if not (snapshots / name / "config.json").exists():
            pytest.skip(f"{snapshots} holds no {name}")
        return snapshots / name

    return find


@pytest.fixture(scope="session")
def paper():
    """config.yaml, for the paper preset; a test that changes it copies it."""
    return load_merged_config([ROOT / "config.yaml"], "paper")


@pytest.fixture(scope="session")
def made(small, tmp_path_factory):
    """Makes a snapshot of a model with random weights in float32, once for each model."""
    folders = {}

    def make_once(name):
        if name not in folders:
            folders[name] = make(small(name), tmp_path_factory.mktemp("made") / name)
        return folders[name]

    return make_once


@pytest.fixture(scope="module")
def load(made, paper):
    """Loads a made backbone through the package's loader, once for each file of tests."""
    loaded = {}

    def load_once(name):
        if name not in loaded:
            loaded[name] = Backbone.load(made(name), paper["backbones"][name]["family"])
        return loaded[name]

    return load_once
