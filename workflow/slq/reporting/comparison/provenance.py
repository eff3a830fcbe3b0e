"""Differences in provenance that may explain different numbers: settings, versions, data and devices."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from slq.methods.registry import BASE
from slq.reporting.comparison.stored_metrics import SHORT_HASH_LENGTH
from slq.results.load import as_rows
from slq.results.record import Record

ProvenanceFields = dict[
    tuple[str, str], dict[str, str]
]  # by (what, key), the value of each run `<backbone>/<method>` or baseline `baselines/<name>`
CATEGORIES = ("config", "versions", "data", "circumstances")
ABSENT = "-"


class ProvenanceDiff(NamedTuple):
    """A difference in provenance.

    Attributes:
        what: one of CATEGORIES
        key: the name of the field that differs, followed by the names of the runs if it differs only for some
    """

    what: str
    key: str
    a: str
    b: str


def collect_provenance(files: pd.DataFrame) -> ProvenanceFields:
    """Collect the provenance that is recorded in the files of the runs and baselines."""
    values_by_run: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in as_rows(files[files["kind"] != "blind"]):
        for place, value in _provenance_of_file(file.record):
            values_by_run[place][f"{file.backbone}/{file.method}"].append(value)
    return {
        place: {run: ", ".join(dict.fromkeys(values)) for run, values in by_run.items()}
        for place, by_run in values_by_run.items()
    }


def _provenance_of_file(record: Record) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((what, key), value) for each entry of one file."""
    content = record.content
    inputs = content.get("inputs", {})
    yield ("circumstances", "plan"), (content.get("plan") or ABSENT)[:SHORT_HASH_LENGTH]
    if record.path.name not in ("run.json", "baseline.json"):
        name = record.path.stem
        for key in ("dataset", "gallery", "questions"):
            if key in inputs:
                yield ("data", f"{name}: {key}"), inputs[key][:SHORT_HASH_LENGTH]
        if "settings" in inputs:
            yield ("config", f"evaluation on {name} (hash)"), inputs["settings"][:SHORT_HASH_LENGTH]
        return
    if content.get("method", BASE) != BASE:
        yield ("config", "seed"), str(record.value("seed"))
    provenance = content.get("provenance", {})
    versions = {key: provenance[key] for key in ("versions", "python", "image_processor", "git") if key in provenance}
    for key, value in _flatten(content.get("settings", {})):
        yield ("config", key), value
    for key, value in inputs.items():
        yield ("data", key), str(value)[:SHORT_HASH_LENGTH]
    for key, value in _flatten(versions):
        yield ("versions", key.removeprefix("versions.")), value
    for key, value in _flatten(content.get("device") or {}, "device."):
        yield ("circumstances", key), value


def _flatten(content: Mapping[str, Any], parent_key: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested entries as pairs of a dotted key and a text, such as `training.epochs` and `5`."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{parent_key}{key}.")
        else:
            yield parent_key + key, value if isinstance(value, str) else json.dumps(value)


def compare_provenance(a: ProvenanceFields, b: ProvenanceFields) -> list[ProvenanceDiff]:
    """List the differences in provenance between two sides, over the runs that both have."""
    runs = {run for by_run in a.values() for run in by_run} & {run for by_run in b.values() for run in by_run}
    found = []
    for place in sorted({*a, *b}, key=lambda place: (CATEGORIES.index(place[0]), place[1])):
        one, other = a.get(place, {}), b.get(place, {})
        pairs = {run: (one.get(run, ABSENT), other.get(run, ABSENT)) for run in sorted(runs & {*one, *other})}
        for left, right in dict.fromkeys(pairs.values()):
            members = [run for run, pair in pairs.items() if pair == (left, right)]
            run_note = "" if len(members) == len(pairs) else f" ({', '.join(members)})"
            if left != right:
                found.append(ProvenanceDiff(place[0], place[1] + run_note, left, right))
    return found
