"""Runs of tiny untrained backbones with random adapters in the workflow's layout, and their exports."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import yaml

from checkout import ROOT
from oracles import LONG, RED, SHORT, TALL, WIDE, sharpen, untrained
from slq.cli import main
from slq.common.files import read_json, write_json
from slq.common.snapshots import snapshot_sha256, write_manifest
from slq.config import job_settings
from slq.evaluation.retrieval import load_run
from slq.methods.adapter import build_retriever, save_adapter, trainable_state_dict
from slq.models.prefix import tokenize_message
from slq.training.run import build_run_record
from tinyllava import ENTRY

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
THIRD = ROOT / "tests/third_family"  # a family that is not part of the package
CONFIG["backbones"] |= yaml.safe_load((THIRD / "llava.yaml").read_text())["backbones"]
FIT = ROOT / "tests/fit_families"  # tiny backbones of the families that docs/backbones.md calls fit
CONFIG["backbones"] |= yaml.safe_load((FIT / "backbones.yaml").read_text())
CONFIG["backbones"]["tiny-llava-next"] = ENTRY
BACKBONES = ("mini-internvl", "mini-qwen3vl")
METHODS = ("base", "slq", "lora", "full_ft", "lora_queries", "linear_head")
HUB = {"name": "X", "parts": [{"from": "model:lab/backbone@main", "commit": "c0ffee" * 6 + "c0de", "sha256": "0"}]}
SPELLED = "a tag called <image> or <IMG_CONTEXT> or <|image_pad|> or <|image|> or <start_of_image>"
INPUTS = [SHORT, LONG, RED, WIDE, "a ring", TALL, SPELLED]


@dataclass(frozen=True)
class Lab:
    """A folder with a scratch folder and results.

    source: the origin recorded in the backbones' manifests; spare: number of embedding rows without a token.
    """

    root: Path
    source: dict | None = None
    spare: int = 0

    @cached_property
    def config(self) -> list[str]:
        """The command-line options that set this lab's scratch folder."""
        over = self.root / "lab.yaml"
        over.write_text(json.dumps({"scratch": str(self.root / "scratch")}))
        return ["--config", str(ROOT / "config.yaml"), "--config", str(over)]

    def snapshot(self, backbone: str) -> Path:
        return self.root / "scratch/backbones" / backbone

    def run(self, backbone: str, method: str) -> Path:
        """Return the results folder of a run, which is created on first use without training."""
        results = self.root / "results/mini" / backbone / method / "seed1"
        if not results.exists():
            self._make(backbone, method, results)
        return results

    def export(self, backbone: str, method: str) -> Path:
        """Return the export of a run, which is created on first use."""
        out = self.root / "exports" / f"{backbone}-{method}"
        if not out.exists():
            assert main(["export", str(self.run(backbone, method)), str(out), *self.config]) == 0
        return out

    def load(self, backbone: str, method: str):
        """Load the backbone and retriever of a run as evaluation does."""
        run = self.run(backbone, method)
        weights = self.root / "scratch/runs" / run.relative_to(self.root / "results")
        return load_run(read_json(run / "run.json")["settings"], self.snapshot(backbone), weights)

    def vectors(self, backbone: str, method: str) -> torch.Tensor:
        """Embed INPUTS as evaluation does, one at a time."""
        loaded, retriever = self.load(backbone, method)
        parts = [(item,) if isinstance(item, str) else (loaded.family.process(item),) for item in INPUTS]
        with torch.inference_mode():
            return torch.cat([retriever.embed([tokenize_message(loaded, part)]) for part in parts])

    def _make(self, name: str, method: str, results: Path) -> None:
        folder = self.snapshot(name)
        folder.mkdir(parents=True, exist_ok=True)
        backbone = sharpen(untrained(name, CONFIG["backbones"][name], folder))
        if self.spare:
            backbone.model.resize_token_embeddings(len(backbone.tokenizer) + self.spare, mean_resizing=False)
        if not (folder / "manifest.json").exists():
            backbone.model.save_pretrained(folder)
            backbone.tokenizer.save_pretrained(folder)
            write_manifest(folder, self.source or {"backbone": name})
        asked = job_settings.train_settings(CONFIG, name, method)
        hyperparameters = asked.get("hyperparameters") or {}
        retriever = build_retriever(method, backbone, hyperparameters, seed=3)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for _, tensor in retriever.named_trainable_parameters():
                tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
        inputs = {"backbone": snapshot_sha256(folder)} | ({} if method == "base" else {"train": "f" * 64})
        weights = self.root / "scratch/runs" / results.relative_to(self.root / "results")
        origin = {"backbone_sha256": inputs["backbone"], "hyperparameters": hyperparameters, "weights": {}}
        save_adapter(method, trainable_state_dict(retriever), 0.07, weights, origin)
        write_json(results / "run.json", build_run_record(asked, 1, retriever, inputs=inputs))
