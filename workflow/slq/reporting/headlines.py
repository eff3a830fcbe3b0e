"""Headlines of finished jobs: the most important number of each job, read from its output files."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slq.results.checks import VERDICTS, describe_this_run

Headline = Callable[[Sequence[Path]], str]


def split_headline(outputs: Sequence[Path]) -> str:
    """State how many images and captions, or questions, a split has."""
    manifest = _read(_find(outputs, "manifest.json"))
    counts = {name: manifest[name] for name in ("images", "captions", "items") if manifest.get(name)}
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def training_headline(outputs: Sequence[Path]) -> str:
    """State the recall of the selected epoch on the validation split, or that a trial has diverged."""
    validation = _read(_find(outputs, "run.json"))["val"]
    if validation is None:
        return "diverged"
    selected = validation["recalls"][validation["selected_epoch"]]
    return f"validation T2I R@1 {selected['t2i']['R@1']:.1f}"


def retrieval_headline(outputs: Sequence[Path]) -> str:
    """State T2I R@5 on each dataset."""
    files = [path for path in outputs if path.suffix == ".json" and path.parent.name == "retrieval"]
    recalls = {path.stem: _read(path)["metrics"]["t2i"] for path in files}
    parts = [f"{name} {values['R@5']:.1f}" for name, values in recalls.items() if "R@5" in values]
    return f"T2I R@5 {', '.join(parts)}" if parts else ""


def retention_headline(outputs: Sequence[Path]) -> str:
    """State the score on each benchmark."""
    files = [path for path in outputs if path.suffix == ".json" and path.parent.name in ("retention", "blind")]
    return ", ".join(f"{path.stem} {round(_read(path)['metrics']['score'], 1):g}" for path in files)


def claims_headline(outputs: Sequence[Path]) -> str:
    """State how many claims have each verdict."""
    claims = _read(outputs[0])["claims"]
    verdicts = [claim["verdict"] for claim in claims]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in verdicts)
    return counts + describe_this_run((claim["verdict"], claim.get("this_run")) for claim in claims)


def lr_sweep_headline(outputs: Sequence[Path]) -> str:
    """State the learning rate that the trials so far choose, and the rates that are tried next."""
    search = _read(outputs[0])
    chosen = "every rate diverged" if search["learning_rate"] is None else f"rate {search['learning_rate']:g}"
    further = ", ".join(f"{rate:g}" for rate in search["next_rates"])
    return f"{chosen}{f', at the edge: tries {further}' if further else ', at the edge' if search['edge'] else ''}"


def frontier_headline(outputs: Sequence[Path]) -> str:
    """State which run of each method is picked on each backbone."""
    backbones = _read(_find(outputs, "frontier.json"))["backbones"]
    picked = (
        f"{name}: {', '.join(run or 'none' for run in one['picked'].values())}" for name, one in backbones.items()
    )
    return f"picked {'; '.join(picked)}"


HEADLINES: dict[str, Headline] = {  # by rule
    "make_synthetic_split": split_headline,
    "import_local_split": split_headline,
    "import_queries": split_headline,
    "prepare_split": split_headline,
    "train": training_headline,
    "choose_learning_rate": lr_sweep_headline,
    "draw_frontier": frontier_headline,
    "evaluate_retrieval": retrieval_headline,
    "evaluate_baseline": retrieval_headline,
    "evaluate_retention": retention_headline,
    "evaluate_blind": retention_headline,
    "judge_claims": claims_headline,
}


def find_headline(rule: str, outputs: Sequence[str]) -> str:
    """Return the headline of a finished job; empty if its rule has none."""
    return HEADLINES[rule]([Path(path) for path in outputs]) if rule in HEADLINES else ""


def _find(outputs: Sequence[Path], name: str) -> Path:
    """Return the output file with the given name."""
    return next(path for path in outputs if path.name == name)


def _read(path: Path) -> Any:
    """Read a JSON output of a job."""
    return json.loads(path.read_text(encoding="utf-8"))
