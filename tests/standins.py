"""Stand-ins of the paper's sources for a clone: servers on loopback, the user's folder, sizes in its config.yaml."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from snakemake.utils import update_config

from checkout import ROOT, copy_repository
from loopback import serve
from papersources import archives_of, hub_of, in_small

POLLING = {"latency-wait": 5, "slurm-init-seconds-before-status-checks": 1}  # of a cluster on one machine


def read_raw_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Serve a hub and archives for as long as the block runs, and yield the environment that leads to them.

    Args:
        folder: a work folder.
    """
    config = read_raw_config()
    with serve(hub_of(config, folder)) as hub, serve(archives_of(config)[0]) as archives:
        mirrors = " ".join(f"{beginning}={archives.address}/" for beginning in ("http://", "https://"))
        yield {"HF_ENDPOINT": hub.address, "SLQ_MIRROR": mirrors, "HF_HUB_OFFLINE": "0"}


def put_photos(clone: Path) -> None:
    """Put the images of Flickr30K where a user would."""
    for name, body in archives_of(read_raw_config())[1].items():
        path = clone / "data/flickr30k" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)


def widen_tolerances(clone: Path) -> None:
    """Widen the tolerances of the reference check, so that the recalls of random weights pass."""
    recalls = clone / "paper_tables/reference/reference_recalls.csv"
    with open(recalls) as file:
        head, *rows = list(csv.reader(file))
    with open(recalls, "w", newline="") as file:
        csv.writer(file).writerows([head, *([*row[:4], "50.0", "100.0", *row[6:]] for row in rows)])


def make_small_clone(clone: Path) -> Path:
    """Copy the repository with small sizes in config.yaml itself, so that every command works as a user types it.

    The paper preset has one backbone and one baseline.
    """
    copy_repository(clone)
    config = read_raw_config()
    update_config(config, in_small(config))
    config["presets"]["paper"] |= {"backbones": ["InternVL3-1B"], "baselines": ["CLIP-ViT-B-32"]}
    sizes = config["backbones"]["mini-internvl"]["pretrain"]["model"]
    vocabulary = config["backbones"]["InternVL3-1B"]["architecture"]["text_config"]["vocab_size"]
    config["backbones"]["InternVL3-1B"]["architecture"] = json.loads(json.dumps(sizes))
    config["backbones"]["InternVL3-1B"]["architecture"]["text_config"]["vocab_size"] = vocabulary
    for source in config["sources"].values():
        for part in source["parts"]:
            part["gb"] = 0.01
    (clone / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    profile = clone / "slurm/profile.yaml"
    profile.write_text(yaml.safe_dump(yaml.safe_load(profile.read_text()) | POLLING))
    widen_tolerances(clone)
    return clone
