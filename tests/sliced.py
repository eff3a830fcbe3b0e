"""The slice (tests/slice.yaml) without the workflow: its backbone, datasets and runs, called as its rules call them."""

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
    """The mini preset in the sizes of the slice."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    update_config(config, yaml.safe_load((ROOT / "tests/slice.yaml").read_text()))
    return config


@dataclass
class Slice:
    """The slice's backbone, splits and runs, where the workflow has them."""

    root: Path
    raw: dict

    @property
    def config(self) -> dict:
        """Its configuration, a copy: the slice is one for all tests, and some try changes."""
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
        """A run under `name`, as the rules `register_base` and `train` start it.

        Args:
            training: other settings of it.
            feature_cache: manifest of what is cached of images; without one nothing is.
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
        """Backbone and retriever of a run, as evaluation loads them."""
        return load_run(self.settings(method), self.snapshot, self.root / method / "adapter")

    def weights(self, method: str) -> dict:
        return json.loads((self.root / method / "run.json").read_text())["weights"]

    def vectors(self, backbone, retriever):
        """Of the val split's images and captions."""
        split = read_split(self.data, "mini-coco", "val")
        return embed_split(retriever, backbone, split, {"text": "", "image": ""}, 16)[:2]


def slice_at(root: Path) -> Slice:
    """The slice that `make_slice` left in this folder, or in one that this is a copy of."""
    return Slice(root, slice_config())


def make_slice(root: Path) -> None:
    """Every method trained; where training looks for data there is no test split."""
    slice_ = slice_at(root)
    places = [(slice_.data, "mini-coco", "train"), (slice_.data, "mini-coco", "val")]
    for folder, name, split in places + [(slice_.tests, name, "test") for name in SETS]:
        draw_split(job_settings.synthetic_split_settings(slice_.config, name, split), folder / name / split)
    # After forty steps every answer is the end of the turn, after sixty there are several.
    settings = job_settings.pretrain_settings(slice_.config, BACKBONE) | {"steps": 60}
    pretrain_backbone(settings, slice_.data, None, slice_.snapshot)
    for method in METHODS:
        slice_.train(method)
