"""The paper's sentences as `paper_tables/reference/claims.yaml` has them, each with the test that decides it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slq.claims.paper import Paper
from slq.errors import SlqError
from slq.reporting.layout import METHODS
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


def read_statements(path: Path, paper: Paper) -> list[Statement]:
    """Every statement to be judged, in the order of the file; an entry for each backbone becomes as many.

    Raises:
        SlqError: the file cannot be read or is not of its form, or an entry names what the reference does not have;
            names file, entry and key.
    """
    found: list[Statement] = []
    backbones = list(dict.fromkeys(number.backbone for number in paper.table3))
    for number, entry in enumerate(_content(path)["claims"]):
        place = f"{path}: claims[{number}] ({entry['id']})"
        if any(entry["id"] == other.id.partition("/")[0] for other in found):
            raise SlqError(f"{place}: id stands twice; expected one entry a claim")
        _check(place, entry["test"], backbones, paper)
        statement = Statement(entry["id"], entry["sentence"], entry["where"], entry["test"], ())
        named = entry["test"].get("backbones", [])
        if named == "each":
            found += [replace(statement, id=f"{statement.id}/{one}", backbones=(one,)) for one in backbones]
        else:
            found.append(replace(statement, backbones=tuple(backbones if named == "all" else named)))
    return found


def _content(path: Path) -> dict[str, Any]:
    """The file, checked: its frame first, then each test by its own kind."""
    content, schema = read_yaml(path), read_yaml(SCHEMA)
    check_schema(content, schema, str(path))
    for number, entry in enumerate(content["claims"]):
        check_schema(entry["test"], schema["$defs"][entry["test"]["test"]], f"{path}: claims[{number}].test")
    return dict(content)


def _check(place: str, test: Mapping[str, Any], backbones: list[str], paper: Paper) -> None:
    """What a test names exists: methods, columns, backbones, quoted cells; recalls are asked of retrieval alone."""
    columns = {name for name, _ in paper.counted}
    models = dict.fromkeys(number.row for number in paper.table1)
    named = {"of": METHODS, "than": METHODS, "as": METHODS, "sets": columns, "models": models}
    if isinstance(test.get("backbones"), list):
        named["backbones"] = backbones
    for key, known in named.items():
        given = test.get(key, [])
        for name in [given] if isinstance(given, str) else given:
            if name not in known:
                raise SlqError(f"{place}: test.{key} has '{name}'; there are {', '.join(sorted(known))}")
    retrieval = [name for name in test.get("sets", ()) if (name, "t2i") in paper.counted]
    if retrieval and "metrics" not in test:
        raise SlqError(f"{place}: test.metrics is missing; {retrieval[0]} is a retrieval set: say which recalls")
    if "metrics" in test and len(retrieval) < len(test["sets"]):
        raise SlqError(f"{place}: test.metrics are recalls, and test.sets has a retention set; make two entries")
    for model in test.get("models", ()):
        for name in test["sets"]:
            for metric in test["metrics"]:
                if paper.recall(model, name, metric) is None:
                    raise SlqError(f"{place}: Table 1 has no number of {model} on {name}, {metric}; take it out")
