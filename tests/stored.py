"""Result files and report layouts that tests of tables share."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slq.common.files import hash_file, write_json, write_jsonl
from slq.config.runs import list_run_seeds
from slq.evaluation.rank_table import RetrievalIds, RetrievalVariant, build_rank_table
from slq.evaluation.ranks import Ranks
from slq.evaluation.retention_metrics import SCHEMA, questions_hash, score_answers
from slq.evaluation.retrieval_metrics import SCHEMA as RETRIEVAL_SCHEMA
from slq.evaluation.retrieval_metrics import compute_retrieval_metrics, gallery_hash
from slq.reporting.paper_tables import build_tables
from slq.reporting.table_model import Table, TableRow
from slq.results.cells import TableCell
from slq.results.layout import parse_layout
from slq.results.load import Results
from slq.results.record import SCHEMA as RUN_SCHEMA

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "paper_tables" / "reference"
TEMPLATES = ROOT / "paper_tables" / "templates"
CPU = {"kind": "cpu", "name": "Xeon_E5 & co", "count": 2}
H200 = {"kind": "cuda", "name": "NVIDIA H200", "count": 8}
SPANS = {"init": 10.0, "train": 90.0, "eval": 20.0}


def entries(*items: tuple[str, str, str]) -> list[dict[str, str]]:
    return [dict(zip(("name", "label", "paper_name"), item, strict=True)) for item in items]


def asked(*items: tuple[str, str, str]) -> list[dict[str, str]]:
    """Build entries of retention datasets that are scored like their paper benchmarks."""
    return [entry | {"scored_as": entry["paper_name"]} for entry in entries(*items)]


# The paper's methods, as entries of a layout.
METHOD_KEYS: dict[str, Any] = {
    "rows": [
        {"name": "base", "label": "Base", "color": "#6e6e6e", "changes_backbone": False},
        {"name": "full_ft", "label": "Full FT", "color": "#d55e00", "changes_backbone": True},
        {"name": "lora", "label": "LoRA", "color": "#009e73", "changes_backbone": True},
        {"name": "slq", "label": "SLQ", "color": "#0072b2", "changes_backbone": False},
    ],
    "proposed_method": "slq",
    "cost_baseline": "full_ft",
}
MINI: dict[str, Any] = METHOD_KEYS | {
    "preset": "mini",
    "seeds": [1],
    "table3_base": True,
    "baselines": [],
    "backbones": entries(("mini-a", "A-mini", "InternVL3-1B"), ("mini-b", "B-mini", "Qwen3-VL-2B")),
    "methods": ["base", "full_ft", "slq"],
    "retrieval_datasets": entries(("mini-f", "mini-F", "flickr30k"), ("mini-c", "mini-C", "coco")),
    "knowledge_datasets": [],
    "retention_datasets": asked(("mini-r", "mini-R", "realworldqa")),
}
PAPER: dict[str, Any] = METHOD_KEYS | {
    "preset": "paper",
    "seeds": [1],
    "table3_base": True,
    "baselines": [],
    "backbones": entries(
        ("InternVL3-1B", "InternVL3-1B", "InternVL3-1B"),
        ("Qwen3-VL-2B", "Qwen3VL-2B", "Qwen3-VL-2B"),
        ("Qwen3-VL-4B", "Qwen3VL-4B", "Qwen3-VL-4B"),
        ("InternVL3-8B", "InternVL3-8B", "InternVL3-8B"),
    ),
    "methods": ["base", "full_ft", "lora", "slq"],
    "retrieval_datasets": entries(("flickr30k", "Flickr30K", "flickr30k"), ("coco", "COCO", "coco")),
    "knowledge_datasets": [],
    "retention_datasets": asked(
        ("mmmu", "MMMU", "mmmu"), ("realworldqa", "RealWorldQA", "realworldqa"), ("ocrbench", "OCRBench", "ocrbench")
    ),
}


class Runs:
    """A writer of result files of one preset and seed, in the format of docs/results.md."""

    def __init__(self, root: Path, preset: str, seed: int = 1) -> None:
        self.root, self.preset, self.seed = root, preset, seed

    def seed_of(self, method: str) -> int:
        return list_run_seeds(method, [self.seed])[0]

    def folder(self, backbone: str, method: str) -> Path:
        return self.root / self.preset / backbone / method / f"seed{self.seed_of(method)}"

    def run(self, backbone: str, method: str, trained: int = 1025, device: Any = None, **changes: Any) -> None:
        content = {
            "schema": RUN_SCHEMA,
            "preset": self.preset,
            "backbone": backbone,
            "method": method,
            "hidden_size": 128,
        }
        content |= {"seed": self.seed_of(method), "spans": SPANS if device else {}, "device": device}
        content |= {"settings": {"hyperparameters": {"learning_rate": 0.1}}}
        content |= {"parameters": {"trainable": trained, "total": 10**6}, **changes}
        write_json(self.folder(backbone, method) / "run.json", content)

    def retrieval(self, backbone: str, method: str, name: str, recalls: Any, images: int = 200) -> None:
        """Write a metrics file with any recalls, intervals of two points and no ties, without a rank table."""
        metrics = {"i2t_strict": recalls["i2t"], **recalls}
        ends = {way: {key: [value - 1, value + 1] for key, value in found.items()} for way, found in metrics.items()}
        content = {"schema": RETRIEVAL_SCHEMA, "variant": "all", "variant_settings": {"captions": None, "fold": None}}
        content |= {"metrics": metrics, "pessimistic": metrics, "ties": dict.fromkeys(metrics, 0), "ci95": ends}
        content |= {"variants": {}, "n": {"images": images, "captions": 5 * images}, "inputs": {}}
        write_json(self.folder(backbone, method) / "retrieval" / f"{name}.json", content)

    def retention(self, backbone: str, method: str, name: str, score: float, kind: str = "retention") -> None:
        """Write the metrics of 200 items of two types: open ones, all answered correctly, and multiple choice, none."""
        types = {"open": {"n": 40, "score": 100.0, "chance": 20.0}, "choice": {"n": 160, "score": 0.0, "chance": 25.0}}
        benchmark = "ocrbench" if name == "ocrbench" else "realworldqa"
        content = {"schema": SCHEMA, "benchmark": benchmark, "scorer": "vlmevalkit-exact-2"}
        content |= {"metrics": {"score": score, "accuracy": score}, "scores": {"vlmevalkit-exact-2": score}}
        content |= {"types": types, "chance": 24.0, "n": {"items": 200}, "inputs": {}}
        write_json(self.folder(backbone, method) / kind / f"{name}.json", content)

    def inherited(self, backbone: str, method: str, name: str) -> None:
        """Write a retention file that inherits from base, whose file must exist."""
        base = self.folder(backbone, "base") / "retention" / f"{name}.json"
        equal, inputs = base.relative_to(self.root / self.preset).as_posix(), {"adapter": "of this run"}
        answers = base.with_name(f"{name}.answers.jsonl")
        inputs |= {"answers": hash_file(answers)} if answers.exists() else {}
        content = {"schema": SCHEMA, "inherits_from": equal, "equivalence_check": {"items": 32}, "inputs": inputs}
        write_json(self.folder(backbone, method) / "retention" / f"{name}.json", content)

    def events(self, backbone: str, method: str, losses: Sequence[float], after: Sequence[float]) -> None:
        """Write events of a training with one step per epoch: its losses, and `recalls` on val after each epoch."""
        lines: list[dict[str, Any]] = [{"event": "span", "name": "init", "start": 0.0, "seconds": 1.0}]
        for epoch, (loss, value) in enumerate(zip(losses, after, strict=True)):
            lines.append({"event": "step", "epoch": epoch, "step": epoch + 1, "loss": loss})
            lines.append({"event": "val", "epoch": epoch, "recalls": recalls(value)})
        path = self.folder(backbone, method) / "events" / "train.jsonl"
        common = {"attempt": 1, "device": CPU}
        write_jsonl(path, [line | common | {"time": float(time)} for time, line in enumerate(lines)])


def write_answers(path: Path, benchmark: str, printed: str, answered: list[dict[str, Any]]) -> None:
    """Write a metrics file of answered items and its files of answers and scorer disagreements, as a job does."""
    content, differing = score_answers(benchmark, printed, answered)
    answers = path.with_name(f"{path.stem}.answers.jsonl")
    write_jsonl(answers, answered)
    inputs = {"dataset": "of the dataset", "questions": questions_hash(answered), "answers": hash_file(answers)}
    write_jsonl(path.with_name(f"{path.stem}.disagreements.jsonl"), differing)
    write_json(path, {"schema": SCHEMA, **content, "inputs": inputs})


def write_ranks(path: Path, t2i: Sequence[int], i2t: Sequence[int], captions: int = 5) -> None:
    """Write a metrics file and its rank table, as a job does; every strict i2t rank is 1."""
    images = [str(number) for number in range(len(i2t))]
    ids = [f"{image}#{n}" for image in images for n in range(captions)]
    found = {"t2i": t2i, "i2t": i2t, "i2t_strict": [1] * len(ids)}
    ranks = {way: Ranks(*np.array([values, values], dtype=np.int32)) for way, values in found.items()}
    table = build_rank_table(RetrievalIds(images, ids, np.repeat(np.arange(len(images)), captions)), ranks)
    table.insert(0, "variant", "all")
    path.parent.mkdir(parents=True, exist_ok=True)
    ranks_file = path.with_name(f"{path.stem}.ranks.parquet")
    table.to_parquet(ranks_file, index=False)
    inputs = {"gallery": gallery_hash(table), "ranks": hash_file(ranks_file)}
    metrics = compute_retrieval_metrics(table, [RetrievalVariant("all")], "all")
    write_json(path, {"schema": RETRIEVAL_SCHEMA, **metrics, "inputs": inputs})


def recalls(value: float) -> dict[str, dict[str, float]]:
    return {way: {"R@1": value, "R@5": value + 1, "R@10": value + 2} for way in ("i2t", "t2i")}


def mini_results(root: Path) -> Path:
    """Write a mini preset to `root`/results: A has base (also blind), full FT and SLQ; B has only SLQ."""
    runs = Runs(root / "results", "mini")
    runs.run("mini-a", "base", trained=0)
    for backbone, method, trained, recall in (
        ("mini-a", "full_ft", 950_123, 70.0),
        ("mini-a", "slq", 1_025, 60.0),
        ("mini-b", "slq", 1_025, 65.0),
    ):
        runs.run(backbone, method, trained, CPU)
        runs.retrieval(backbone, method, "mini-f", recalls(recall))
        runs.retrieval(backbone, method, "mini-c", recalls(recall))
        runs.retention(backbone, method, "mini-r", 11.5 if method == "full_ft" else 97.5)
    runs.retrieval("mini-a", "base", "mini-f", recalls(99.0 - 9))
    runs.retention("mini-a", "base", "mini-r", 97.5)
    runs.retention("mini-a", "base", "mini-r", 30.0, kind="blind")
    return root / "results"


def tables(layout: dict[str, Any], results: Path) -> dict[str, Table]:
    return {table.name: table for table in build_tables(Results(results, parse_layout(layout)), REFERENCE)}


def rows(table: Table) -> dict[str, TableRow]:
    return {row.key: row for group in table.groups for row in group.rows}


def cell(table: Table, row: str, column: str) -> TableCell:
    return rows(table)[row].cells[[one.key for one in table.columns].index(column)]


def heads(table: Table) -> list[list[str]]:
    return [[head.text for head in line if head.text] for line in table.head_lines]


def reference_rows(name: str) -> list[dict[str, str]]:
    with open(REFERENCE / f"{name}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stored_like_the_paper(root: Path) -> None:
    """Write the paper's SLQ rows as if our runs had produced them."""
    runs = Runs(root, "paper")
    backbones = {f"SLQ ({entry['label']})": entry["name"] for entry in PAPER["backbones"]}
    metrics: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in reference_rows("table1"):
        if row["group"] == "Ours":
            found = metrics.setdefault((backbones[row["model"]], row["dataset"]), {"i2t": {}, "t2i": {}})
            found[row["direction"]][row["metric"]] = float(row["value"])
    for (backbone, name), values in metrics.items():
        runs.retrieval(backbone, "slq", name, values, images=1000 if name == "flickr30k" else 5000)
