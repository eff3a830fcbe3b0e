"""Pre-training of the mini backbones and encoders from scratch, compared with the weights in the repository.

python tests/ship_weights.py            reports which weights are equal, byte for byte: `make pretrain`, 10 minutes on
                                        2 cores
python tests/ship_weights.py --write    also replaces the weights; if they differ, first increase RECIPE in
                                        workflow/slq/synthetic/shipped.py, and give the reason in docs/log.md
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow"))

from slq.common.files import hash_file, read_json, write_json  # noqa: E402
from slq.common.fingerprint import fingerprint  # noqa: E402
from slq.config import job_settings  # noqa: E402
from slq.config.loading import validate_config  # noqa: E402
from slq.config.yaml_files import read_yaml  # noqa: E402
from slq.jobs import JOBS  # noqa: E402
from slq.methods.registry import BASE  # noqa: E402
from slq.synthetic.shipped import INDEX, WEIGHTS, snapshot_key  # noqa: E402

SHIPPED = ROOT / "workflow" / "slq" / "synthetic" / "pretrained"
SCRATCH = "scratch/pretrain"  # a separate folder, so that runs of the preset stay unchanged


def read_config() -> dict[str, Any]:
    """Read config.yaml."""
    config = read_yaml(ROOT / "config.yaml")
    validate_config(config)
    return config


def processor() -> str:
    """Name the instruction set and torch version, which determine rounding: equal names give the same bytes."""
    return f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}"


def shipped_models(config: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Yield catalogue, name, settings and code fingerprint of each model that is pre-trained here."""
    for catalogue, job, settings in (
        ("backbones", "pretrain_backbone", job_settings.pretrain_settings),
        ("encoders", "pretrain_encoder", job_settings.pretrain_encoder_settings),
    ):
        for name in (name for name, entry in config[catalogue].items() if "pretrain" in entry):
            used = {"backbones": [name], "methods": [BASE]} if catalogue == "backbones" else {"encoders": [name]}
            code = fingerprint(JOBS[job], **job_settings.used_members(config, **used))
            yield catalogue, name, settings(config, name), code


def describe_snapshot(settings: dict[str, Any], code: str, data: Path, folder: Path) -> dict[str, str]:
    """Return the entry of a model in the index."""
    made_from = {"key": snapshot_key(settings, data), "code": code, "processor": processor()}
    return made_from | {"sha256": hash_file(folder / WEIGHTS)}


def largest_difference(first: Path, second: Path) -> float:
    """Return the largest difference between two files of weights; infinity if names or shapes differ."""
    ours, theirs = load_file(first), load_file(second)
    if {name: tensor.shape for name, tensor in ours.items()} != {name: tensor.shape for name, tensor in theirs.items()}:
        return float("inf")
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


def main() -> int:
    """Pre-train and compare all models, with --write store them; return 1 if weights differ and were not written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the weights in the repository with the new ones")
    write = parser.parse_args().write
    call = ["snakemake", "--cores", "all", "pretrain", "--config", "pretrained=none", f"scratch={SCRATCH}"]
    subprocess.run([sys.executable, "-m", *call], cwd=ROOT, check=True)
    index, num_different = {}, 0
    for catalogue, name, settings, code in shipped_models(read_config()):
        made, shipped = ROOT / SCRATCH / catalogue / name, SHIPPED / name
        index[name] = describe_snapshot(settings, code, ROOT / SCRATCH / "data", made)
        if shipped.is_dir() and hash_file(shipped / WEIGHTS) == index[name]["sha256"]:
            print(f"{name}: the same bytes as the shipped weights")
        else:
            num_different += 1
            found = "not shipped so far"
            if shipped.is_dir():
                found = f"differs by {largest_difference(made / WEIGHTS, shipped / WEIGHTS):.1e}"
            print(f"{name}: {found}; the shipped one was made on {_shipped_processor(name)}, this one on {processor()}")
        if write:
            shutil.copytree(made, shipped, ignore=shutil.ignore_patterns("manifest.json"), dirs_exist_ok=True)
    if write:
        write_json(SHIPPED / INDEX, index)
    return int(num_different > 0 and not write)


def _shipped_processor(name: str) -> str:
    """Return the processor that a model's shipped weights were made on."""
    path = SHIPPED / INDEX
    return read_json(path)[name]["processor"] if path.is_file() and name in read_json(path) else "none"


if __name__ == "__main__":
    sys.exit(main())
