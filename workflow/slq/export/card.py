"""The model card: what a run measured and cost, from its results, and how to use the folder."""

import csv
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from slq.config import Config
from slq.export.base import Base
from slq.export.measured import retention, retrieval, stale
from slq.files import read_json, write_text
from slq.finished import Finished
from slq.reporting.layout import METHODS

KNOWN = ("apache-2.0", "mit")  # licences under the names that the hub gives them


def write_card(run: Finished, base: Base, config: Config, folder: Path) -> None:
    """README.md of an export, after everything else that it tells the size of."""
    environment = Environment(
        loader=PackageLoader("slq.export", "."), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    backbone, licence = run.run["backbone"], licence_of(run, config)
    labels = {name: entry["label"] for name, entry in config["sets"].items()}
    told = read_json(folder / "retriever.json")
    text = environment.get_template("card.md.j2").render(
        run=run.run,
        name=run.name,
        label=config["backbones"].get(backbone, {}).get("label", backbone),
        method=METHODS[run.run["method"]],
        base=base,
        base_folder=told["base"].get("folder"),
        peft=(folder / "adapter_config.json").exists(),
        told=told,
        licence=licence,
        licence_id=licence.lower() if licence.lower() in KNOWN else "other",
        retrieval=retrieval(run, labels),
        retention=retention(run, labels),
        stale=stale(run),
        train_set=train_set(run),
        audit=leaks(run, labels),
        cost=cost(run),
        kilobytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")) / 1e3,
        drawn="pretrain" in config["backbones"].get(backbone, {}),
    )
    write_text(folder / "README.md", text)


def licence_of(run: Finished, config: Config) -> str:
    """The terms of the base, as `sources` in config.yaml states them."""
    entry = config["backbones"].get(run.run["backbone"], {})
    if "source" in entry:
        return str(config["sources"][entry["source"]]["licence"])
    return "MIT" if "pretrain" in entry else "not stated"


def train_set(run: Finished) -> dict[str, Any] | None:
    """The set whose train split has the hash that run.json notes: its name and number of images; None for base."""
    sha256, audit = run.run["inputs"].get("train"), run.preset / "audit.json"
    if sha256 is None:
        return None
    splits = read_json(audit)["splits"] if audit.exists() else {}
    found = [(name, split["items"]) for name, split in splits.items() if split["sha256"] == sha256]
    name, items = found[0] if found else ("not known", None)
    return {"name": name.removesuffix("/train"), "items": items, "sha256": sha256}


def leaks(run: Finished, labels: dict[str, str]) -> dict[str, int] | None:
    """How many test items of each set the audit found in the training set; None where nothing was audited."""
    path = run.preset / "audit.json"
    if not path.exists():
        return None
    tests = {name: split for name, split in read_json(path)["splits"].items() if name.endswith("/test")}
    return {labels.get(name.removesuffix("/test"), name): len(split["leaked"]) for name, split in tests.items()}


def cost(run: Finished) -> list[dict[str, str]]:
    """The ledger's rows of a run (docs/hours.md), if there is a ledger."""
    path = run.preset / "gpu_hours.csv"
    if not path.exists():
        return []
    key = {part: str(run.run[part]) for part in ("backbone", "method", "seed")}
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if key.items() <= row.items()]
