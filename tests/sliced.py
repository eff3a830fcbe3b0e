"""The slice (tests/slice.yaml) made without Snakemake: its backbone, datasets and runs, by the rules' functions."""

import json
import math
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import yaml
from snakemake.utils import update_config

from checkout import ROOT
from slq.config import job_settings
from slq.datasets.splits import Split, read_split
from slq.evaluation.encode import embed_split
from slq.evaluation.retrieval import load_run
from slq.evaluation.validation import build_recall_validator
from slq.jobs import pretrain_backbone
from slq.synthetic.datasets import draw_split
from slq.training.run import run_training
from slq.training.run_record import register_base

BACKBONE = "mini-internvl"
METHODS = ("base", "slq", "lora", "full_ft")
SEED = 1
SETS = ("mini-mmmu", "mini-realworldqa", "mini-ocrbench")


def slice_config() -> dict:
    """Read the configuration of the mini preset with the sizes of the slice."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / "tests/slice.yaml").read_text()))
    return config


@dataclass
class Slice:
    """A folder with the slice's backbone, splits and runs."""

    root: Path
    raw: dict

    @property
    def config(self) -> dict:
        """A copy of the configuration, because all tests share the slice and some change settings."""
        return deepcopy(self.raw)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def snapshot(self) -> Path:
        return self.root / "backbone"

    @property
    def tests(self) -> Path:
        return self.root / "test"

    @property
    def questions(self) -> Split:
        return read_split(self.tests, "mini-realworldqa", "test")

    def settings(self, method: str) -> dict:
        return job_settings.train_settings(self.config, BACKBONE, method)

    def train(
        self, method: str, name: str | None = None, training: dict | None = None, feature_cache: Path | None = None
    ) -> None:
        """Make a run under `name`, as the rules `register_base` and `train` do.

        Args:
            training: settings of training that replace those of the slice.
            feature_cache: manifest of the cache of image features or prefixes; without it, nothing is cached.
        """
        folder = self.root / (name or method)
        adapter, run = folder / "adapter", folder / "run.json"
        if method == "base":
            register_base(self.settings(method), self.snapshot, adapter, run)
            return
        settings = self.settings(method)
        settings["training"] |= {"image_cache": "none"} | (training or {})
        paths = (self.snapshot, self.data, "mini-coco", self.root / "work" / folder.name, adapter, run)
        run_training(
            settings,
            SEED,
            *paths,
            folder / "events.jsonl",
            build_recall_validator(settings),
            code_fingerprint="",
            time_limit_minutes=math.inf,
            cache_manifest=feature_cache,
        )

    def load(self, method: str):
        """Load the backbone and retriever of a run as evaluation does."""
        return load_run(self.settings(method), self.snapshot, self.root / method / "adapter")

    def weights(self, method: str) -> dict:
        return json.loads((self.root / method / "run.json").read_text())["weights"]

    def vectors(self, backbone, retriever):
        """Embed the images and captions of the val split."""
        split = read_split(self.data, "mini-coco", "val")
        return embed_split(retriever, backbone, split, {"text": "", "image": ""}, 16)[:2]


def slice_at(root: Path) -> Slice:
    """Open the slice that `make_slice` wrote to this folder, or a copy of that folder."""
    return Slice(root, slice_config())


def make_slice(root: Path) -> None:
    """Make the slice and train every method; the folder of training data has no test split."""
    slice_ = slice_at(root)
    places = [(slice_.data, "mini-coco", "train"), (slice_.data, "mini-coco", "val")]
    for folder, name, split in places + [(slice_.tests, name, "test") for name in SETS]:
        draw_split(job_settings.synthetic_split_settings(slice_.config, name, split), folder / name / split)
    # After 40 steps, every answer is the end-of-turn token; after 60 steps, there are several different answers.
    settings = job_settings.pretrain_settings(slice_.config, BACKBONE) | {"steps": 60}
    pretrain_backbone(settings, slice_.data, None, slice_.snapshot)
    for method in METHODS:
        slice_.train(method)
