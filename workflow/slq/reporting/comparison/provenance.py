"""What else is not the same in two results, and may explain their numbers: settings, versions, data, circumstances."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from slq.reporting.comparison.stored import SHOWN, Stored
from slq.results.records import ROWS, Record

Facts = dict[tuple[str, str], dict[str, str]]  # by what and key, of each run `<backbone>/<method>` or row `rows/<row>`
ORDER = ("config", "versions", "data", "circumstances")
NONE = "-"


@dataclass(frozen=True)
class Apart:
    """Something that differs; `what` is one of ORDER. Of some runs only, `key` names them."""

    what: str
    key: str
    a: str
    b: str


def facts(stored: Stored) -> Facts:
    """Everything that the files of the runs say of how they were made."""
    files = {
        f"{backbone.name}/{method}": _records(stored, backbone.name, method) for backbone, method in stored.methods
    }
    files |= {f"{ROWS}/{row}": _row_records(stored, row) for row in stored.rows}
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for run, records in files.items():
        for place, value in (fact for record in records for fact in _facts(record)):
            found[place][run].append(value)
    return {
        place: {run: ", ".join(dict.fromkeys(values)) for run, values in by_run.items()}
        for place, by_run in found.items()
    }


def _records(stored: Stored, backbone: str, method: str) -> Iterator[Record]:
    layout = stored.results.layout
    yield from stored.runs(backbone, method)
    for kind, entries in (("retrieval", layout.retrieval_sets), ("retention", layout.retention_sets)):
        for entry in entries:
            yield from stored.results.over_seeds(backbone, method, f"{kind}/{entry.name}.json")


def _row_records(stored: Stored, row: str) -> Iterator[Record]:
    names = ["row.json", *(f"retrieval/{entry.name}.json" for entry in stored.results.layout.retrieval_sets)]
    yield from (record for name in names for record in stored.results.over_seeds(ROWS, row, name))


def _facts(record: Record) -> Iterator[tuple[tuple[str, str], str]]:
    """(what, key), value of one file."""
    content = record.content
    inputs = content.get("inputs", {})
    if record.path.name not in ("run.json", "row.json"):
        name = record.path.stem
        hashes = {f"{name}: {key}": value for key, value in inputs.items() if key in ("set", "gallery", "questions")}
        yield from (((("data", key), value[:SHOWN])) for key, value in hashes.items())
        if "settings" in inputs:
            yield ("config", f"evaluation on {name} (hash)"), inputs["settings"][:SHOWN]
        return
    if content.get("method", "base") != "base":
        yield ("config", "seed"), str(record.at("seed"))
    yield from ((("config", key), value) for key, value in _flat(content.get("settings", {})))
    yield from ((("data", key), str(value)[:SHOWN]) for key, value in inputs.items())
    provenance = content.get("provenance", {})
    named = {key: provenance[key] for key in ("versions", "python", "image_processor", "git") if key in provenance}
    yield from ((("versions", key.removeprefix("versions.")), value) for key, value in _flat(named))
    yield from ((("circumstances", f"device.{key}"), value) for key, value in _flat(content.get("device") or {}))


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`training.epochs`, `5`."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value)


def differences(a: Facts, b: Facts) -> list[Apart]:
    """What two sides say differently of runs that both have."""
    runs = _runs(a) & _runs(b)
    found = []
    for place in sorted({*a, *b}, key=lambda place: (ORDER.index(place[0]), place[1])):
        one, other = a.get(place, {}), b.get(place, {})
        pairs = {run: (one.get(run, NONE), other.get(run, NONE)) for run in sorted(runs & {*one, *other})}
        for left, right in dict.fromkeys(pairs.values()):
            members = [run for run, pair in pairs.items() if pair == (left, right)]
            of = "" if len(members) == len(pairs) else f" ({', '.join(members)})"
            if left != right:
                found.append(Apart(place[0], place[1] + of, left, right))
    return found


def _runs(facts: Facts) -> set[str]:
    return {run for runs in facts.values() for run in runs}
