"""The paper's sentences as `paper_tables/reference/claims.yaml` has them, each with the test that decides it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.plausibility.claims import Benchmarks
from slq.reporting.layout import METHODS
from slq.reporting.records import Reference
from slq.yamls import SCHEMAS, check_schema, read_yaml

SCHEMA = SCHEMAS / "claims.schema.yaml"


@dataclass(frozen=True)
class Statement:
    """A sentence of the paper, in our words.

    where: in the paper
    test: a kind of `claims.schema.yaml` and its keys
    backbones: rows of Table 3 that one verdict is over; of an entry for each, one of them; none where nothing decides
    """

    id: str
    sentence: str
    where: str
    test: Mapping[str, Any]
    backbones: tuple[str, ...]

    @property
    def kind(self) -> str:
        return str(self.test["test"])


def read_statements(path: Path, papers: Reference, benchmarks: Benchmarks) -> list[Statement]:
    """Every statement to be judged, in the order of the file; an entry for each backbone becomes as many.

    Raises:
        SlqError: the file cannot be read or is not of its form, or an entry names what the reference does not have;
            names file, entry and key.
    """
    found: list[Statement] = []
    backbones = list(dict.fromkeys(backbone for backbone, _, _ in papers.table3))
    for number, entry in enumerate(_content(path)["claims"]):
        place = f"{path}: claims[{number}] ({entry['id']})"
        if any(entry["id"] == other.id.partition("/")[0] for other in found):
            raise SlqError(f"{place}: id stands twice; expected one entry a claim")
        _check(place, entry["test"], backbones, papers, benchmarks)
        statement = Statement(entry["id"], entry["sentence"], entry["where"], entry["test"], ())
        match entry["test"].get("backbones"):
            case "each":
                found += [replace(statement, id=f"{statement.id}/{one}", backbones=(one,)) for one in backbones]
            case "all":
                found.append(replace(statement, backbones=tuple(backbones)))
            case list(names):
                found.append(replace(statement, backbones=tuple(names)))
            case _:
                found.append(statement)
    return found


def _content(path: Path) -> dict[str, Any]:
    """The file, checked: its frame first, then each test by its own kind."""
    content, schema = read_yaml(path), read_yaml(SCHEMA)
    check_schema(content, schema, str(path))
    for number, entry in enumerate(content["claims"]):
        check_schema(entry["test"], schema["$defs"][entry["test"]["test"]], f"{path}: claims[{number}].test")
    return dict(content)


def _check(
    place: str, test: Mapping[str, Any], backbones: list[str], papers: Reference, benchmarks: Benchmarks
) -> None:
    """What a test names exists: methods, columns, backbones, quoted cells; recalls are asked of retrieval alone."""
    columns = {name for name, _ in benchmarks.rows}
    named = {"of": METHODS, "than": METHODS, "as": METHODS, "sets": columns, "models": _models(papers)}
    if isinstance(test.get("backbones"), list):
        named["backbones"] = backbones
    for key, known in named.items():
        given = test.get(key, [])
        for name in [given] if isinstance(given, str) else given:
            if name not in known:
                raise SlqError(f"{place}: test.{key} has '{name}'; there are {', '.join(sorted(known))}")
    retrieval = [name for name in test.get("sets", ()) if (name, "t2i") in benchmarks.rows]
    if retrieval and "metrics" not in test:
        raise SlqError(f"{place}: test.metrics is missing; {retrieval[0]} is a retrieval set: say which recalls")
    if "metrics" in test and len(retrieval) < len(test["sets"]):
        raise SlqError(f"{place}: test.metrics are recalls, and test.sets has a retention set; make two entries")
    for model in test.get("models", ()):
        for name in test["sets"]:
            for metric in test["metrics"]:
                if (quote := papers.table1.get((model, name, *metric.split(" ")))) is None or quote.value is None:
                    raise SlqError(f"{place}: Table 1 has no number of {model} on {name}, {metric}; take it out")


def _models(papers: Reference) -> list[str]:
    return [model for models in papers.groups.values() for model in models]
