"""A run's scores as its card prints them, each with its interval."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.evaluation.intervals import accuracy_interval
from slq.files import read_json
from slq.finished import Finished
from slq.proofs import follow

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


def _files(run: Finished, kind: str) -> list[tuple[Path, Any]]:
    return [(path, read_json(path)) for path in sorted((run.results / kind).glob("*.json"))]
