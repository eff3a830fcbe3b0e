"""Results of simulated runs on one test set, with a known effect of the seed."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from checkout import ROOT
from slq.common.files import read_json
from slq.reporting.comparison.output import format_comparison, write_comparison
from stored import METHOD_KEYS, MINI, PAPER, REFERENCE, Runs, write_answers, write_ranks

TOLERANCE = {"recall": 1.0, "score": 1.0, "hours": 0.5}
SEED_SD = 5.0  # standard deviation over seeds of all recalls of a simulated run, in points
IMAGES, CAPTIONS, QUESTIONS = 100, 5, 200
CONFIG = ["--config", str(ROOT / "config.yaml")]  # options of `slq compare` in calls that judge no cell


def settings(**tolerance: float) -> dict[str, Any]:
    """Return the settings that the rule passes, for a configuration with both layouts."""
    datasets = [
        one for layout in (MINI, PAPER) for one in (*layout["retrieval_datasets"], *layout["retention_datasets"])
    ]
    catalogue = {"backbones": MINI["backbones"] + PAPER["backbones"], "datasets": datasets, "level": 0.05}
    catalogue |= METHOD_KEYS | {"rows": [{key: row[key] for key in ("name", "label")} for row in METHOD_KEYS["rows"]]}
    spreads = {"mini": {"slq": {"recall": SEED_SD, "score": SEED_SD}}, "paper": {"slq": {"recall": 0.5, "score": 0}}}
    return {**catalogue, "seed_sd": spreads, "tolerance": TOLERANCE | tolerance}


def compared(
    out: Path, one: Any, other: Any, how: dict[str, Any] | None = None, text: Path | None = None
) -> dict[str, Any]:
    """Compare two results, and return the comparison, which is also printed and written to `out`."""
    print(format_comparison(write_comparison(str(one), str(other), how or settings(), REFERENCE, out, text)), end="")
    return read_json(out)


def overlay(folder: Path) -> list[str]:
    """Write a configuration with the backbone and datasets of `draw_run`, and return its options for `slq compare`."""
    known = yaml.safe_load((ROOT / "config.yaml").read_text())
    datasets = {"mini-f": "flickr30k", "mini-c": "coco", "mini-r": "realworldqa"}
    added = {
        "backbones": {"mini-a": known["backbones"]["mini-internvl"] | {"label": "A-mini"}},
        "datasets": {name: known["datasets"][like] | {"label": name} for name, like in datasets.items()},
        "presets": {"mini": {"seed_sd": settings()["seed_sd"]["mini"]}},
    }
    (folder / "overlay.yaml").write_text(yaml.safe_dump(added))
    return [*CONFIG, "--config", str(folder / "overlay.yaml")]


def cells(found: dict[str, Any], verdict: str) -> list[str]:
    """List the cells with a verdict, in order, as `backbone/method benchmark metric`."""
    return [
        "{backbone}/{method} {benchmark} {metric}".format(**cell)
        for cell in found["cells"]
        if cell["verdict"] == verdict
    ]


def draw(random: np.random.Generator, level: float, shift: float = 0.0) -> tuple[list[int], list[int]]:
    """Draw the caption and image ranks of a run from fixed item difficulties and random noise of the run.

    The captions of an image share a part of their noise. `shift` is added to every item of the run, in logits.
    """
    hard = np.random.default_rng(7)
    ways = []
    for number, each in ((IMAGES, CAPTIONS), (IMAGES, 1)):
        chances = np.repeat(hard.normal(level, 1.5, number), each) + hard.normal(0, 1, number * each)
        luck = np.repeat(random.normal(0, 0.5, number), each) + random.logistic(size=number * each)
        found = chances + shift + luck
        ways.append([1 if value > 0 else 3 if value > -1 else 8 if value > -2 else 40 for value in found])
    return ways[0], ways[1]


def draw_run(root: Path, random: np.random.Generator, seed: int = 1, shift: float = 0.0) -> Path:
    """Write a run of SLQ on mini-a with random ranks on two datasets and answers on one; return the preset's folder."""
    runs = Runs(root / "results", "mini", seed)
    runs.run("mini-a", "slq", 1_025)
    folder = runs.folder("mini-a", "slq")
    for name, level in (("mini-f", 0.5), ("mini-c", -0.5)):
        write_ranks(folder / "retrieval" / f"{name}.json", *draw(random, level, shift))
    known = np.random.default_rng(8).normal(1, 1.5, QUESTIONS) + shift + random.logistic(size=QUESTIONS) > 0
    write_hits(folder / "retention" / "mini-r.json", known.tolist())
    return root / "results" / "mini"


def write_hits(path: Path, hits: list[bool]) -> None:
    """Write an answers file in which the items with True in `hits` are answered correctly."""
    asked = {"options": ["yes", "no"], "answers": ["A"], "type": "", "tokens": 2, "ended": True}
    items = [
        {"id": f"q{n}", "question": "?", "prompt": "?", "answer": "A" if hit else "B", **asked}
        for n, hit in enumerate(hits)
    ]
    write_answers(path, "realworldqa", "vlmevalkit-exact-2", items)
