"""Learning-rate search: the choice among finished trials by their recalls on val; the paper states no rates.

A trial is an ordinary run (`slq.config.runs`), so this module trains nothing and imports no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.common.files import read_json, write_json
from slq.training.selection import sum_of_recalls

SCHEMA = 3
CRITERION = "the highest sum of R@1, R@5 and R@10 over both directions on val; of equal rates the lowest"


def choose_learning_rate(settings: Mapping[str, Any], runs: Sequence[Path], output_file: Path) -> None:
    """Write the trials of a search, the rate that they choose, and the rates to be tried next.

    Args:
        settings: method, `rates` (the number of rates that a search begins with), `factor` and `extensions`.
        runs: run.json of each trial, in any order.
    """
    trials = sorted((read_trial(path) for path in runs), key=lambda trial: trial["learning_rate"])
    best = choose_trial(trials)
    edge = find_edge(trials, best)
    is_exhausted = len(trials) >= settings["rates"] + settings["extensions"]
    beyond = {"lower": trials[0]["learning_rate"] / settings["factor"]}
    beyond["upper"] = trials[-1]["learning_rate"] * settings["factor"]
    write_json(
        output_file,
        {
            "schema": SCHEMA,
            "method": settings["method"],
            "trials": trials,
            "learning_rate": best and best["learning_rate"],
            "criterion": CRITERION,
            "edge": edge,
            "next_rates": [float(f"{beyond[edge]:.2g}")] if edge and not is_exhausted else [],
            "hours": sum(trial["hours"] for trial in trials),
        },
    )


def read_trial(path: Path) -> dict[str, Any]:
    """Read a trial from its run.json: rate, recalls on val (None if it diverged) and device hours."""
    run = read_json(path)
    selected = run["val"] and run["val"]["recalls"][run["val"]["selected_epoch"]]
    return {
        "learning_rate": run["settings"]["hyperparameters"]["learning_rate"],
        "run": run["method"],
        "val": selected,
        "diverged": run.get("diverged"),
        "device": run["device"],
        "hours": sum(run["spans"].values()) * run["device"]["count"] / 3600,
    }


def choose_trial(trials: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the trial with the highest sum of recalls, of equal ones the first; None if all have diverged."""
    finite = [trial for trial in trials if trial["val"] is not None]
    return max(finite, key=lambda trial: sum_of_recalls(trial["val"]), default=None)


def find_edge(trials: Sequence[dict[str, Any]], best: dict[str, Any] | None) -> str | None:
    """Return `lower` or `upper` if no trial lies below or above the best one; None if trials lie on both sides.

    If all trials have diverged, a good rate lies below them.
    """
    if best is None or best is trials[0]:
        return "lower"
    return "upper" if best is trials[-1] else None
