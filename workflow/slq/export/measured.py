"""A run's scores as its card prints them, each with its interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.evaluation.following import MEASURED, followed
from slq.evaluation.intervals import accuracy_interval
from slq.files import read_json
from slq.finished import Finished
from slq.proofs import follow
from slq.reporting.stale import StaleFiles

WAYS = {"t2i": "text to image", "i2t": "image to text"}
RECALLS = ("R@1", "R@5", "R@10")


def retrieval(run: Finished, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row per set and direction: recalls in percent with 95 % intervals."""
    rows = []
    for path, found in _files(run, "retrieval"):
        for way, said in WAYS.items():
            recalls = [(found["metrics"][way][name], *found["ci95"][way][name]) for name in RECALLS]
            cells = [f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in recalls]
            rows.append({"set": labels.get(path.stem, path.stem), "way": said, "cells": cells, "n": found["n"]})
    return rows


def retention(run: Finished, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row per set: right answers in percent with a 95 % interval; `proved`: base's, by construction."""
    rows = []
    for path, found in _files(run, "retention"):
        proved = "equals" in found
        if proved:
            _, found = follow(path, found)
        count, accuracy = found["n"]["items"], found["metrics"]["accuracy"]
        interval = accuracy_interval(round(accuracy * count / 100), count)
        cell = f"{accuracy:.1f} [{interval.low:.1f}, {interval.high:.1f}]"
        rows.append({"set": labels.get(path.stem, path.stem), "cell": cell, "n": count, "proved": proved})
    return rows


def stale(run: Finished) -> list[str]:
    """Why files of the run are left out: their numbers are not what their ranks or answers give."""
    standing = StaleFiles(run.preset.parent)
    for kind in MEASURED:
        for path in sorted((run.results / kind).glob("*.json")):
            standing.of(path, read_json(path))
    return [f"{file} {why}" for file, why in standing.stale.items()]


def _files(run: Finished, kind: str) -> list[tuple[Path, Any]]:
    """The files of a kind whose numbers follow from their ranks or answers."""
    found = [(path, read_json(path)) for path in sorted((run.results / kind).glob("*.json"))]
    return [(path, content) for path, content in found if not followed(path, content).stale]
