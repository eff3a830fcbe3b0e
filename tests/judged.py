"""Simulated results of the paper preset in which all claims of Tables 1 and 3 hold, fail, or stay undecided."""

import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np

from slq.evaluation.reply import Reply, build_answered_items
from stored import H200, PAPER, Runs, write_answers, write_ranks

IMAGES, QUESTIONS = 40, 100
SCORERS = {"mmmu": "vlmevalkit-exact-2", "realworldqa": "vlmevalkit-exact-2", "ocrbench": "ocrbench-vlmevalkit-1"}
PROVENANCE = {"git": {"commit": 40 * "c", "dirty": False}, "python": "3.11.7", "versions": {"torch": "2.13.0"}}
# For each method: the rank of every correct item, the percentage of questions answered correctly, hours, and trained
# parameters. In `holds`, SLQ is best and cheap, and tuning loses answers. In `fails`, the opposite is true.
WORLDS = {
    "holds": {
        "base": (20, 90, 0, 0),
        "full_ft": (20, 30, 10, 10**9),
        "lora": (20, 50, 8, 10**7),
        "slq": (1, 90, 1, 10),
    },
    "fails": {"base": (1, 30, 0, 0), "full_ft": (1, 90, 1, 10), "lora": (1, 90, 1, 10), "slq": (20, 90, 9, 10**7)},
    "open": {"base": (1, 90, 0, 0), "full_ft": (1, 90, 2, 10**9), "lora": (1, 90, 2, 10**7), "slq": (1, 90, 1, 10)},
}


def write_world(root: Path, name: str, seeds: Sequence[int] = (1,)) -> Path:
    """Write every run of the paper preset with the numbers of this case; return the folder `root`/results."""
    for method, (rank, right, hours, trained) in WORLDS[name].items():
        made = root / "made" / method
        write_ranks(made / "found.json", np.full(5 * IMAGES, rank), np.full(IMAGES, rank))
        for entry in PAPER["retention_datasets"]:
            write_answers(made / f"{entry['name']}.json", entry["name"], SCORERS[entry["name"]], answers(right))
        for backbone, seed in product(PAPER["backbones"], seeds):
            runs = Runs(root / "results", "paper", seed)
            spans = {"train": 3600.0 * hours / H200["count"]}
            made_with = {"spans": spans if hours else {}, "provenance": PROVENANCE}
            runs.run(backbone["name"], method, trained, H200 if hours else None, **made_with)
            folder = runs.folder(backbone["name"], method)
            for entry in PAPER["retrieval_datasets"]:
                for kind in ("json", "ranks.parquet"):
                    place(made / f"found.{kind}", folder / "retrieval" / f"{entry['name']}.{kind}")
            for entry in PAPER["retention_datasets"]:
                for kind in ("json", "answers.jsonl"):
                    place(made / f"{entry['name']}.{kind}", folder / "retention" / f"{entry['name']}.{kind}")
    shutil.rmtree(root / "made")
    return root / "results"


def answers(right: int) -> list[dict]:
    """Build answers to a hundred open questions, of which `right` are correct."""
    items = [
        {"id": f"q{n}", "question": "?", "options": [], "answers": ["red"], "type": "open"} for n in range(QUESTIONS)
    ]
    return build_answered_items(items, [Reply("?", "red" if n < right else "blue", 2, True) for n in range(QUESTIONS)])


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
