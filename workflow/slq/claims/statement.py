"""The paper's sentences as `paper_tables/reference/claims.yaml` has them, each with the test that decides it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.config.yaml_files import SCHEMAS, check_schema, read_yaml
from slq.results.layout import METHODS
from slq.results.paper import Paper

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
    for number, entry in enumerate(_content(path, paper)):
        place, test = f"{path}: claims[{number}] ({entry['id']})", entry["test"]
        if any(entry["id"] == other.id.partition("/")[0] for other in found):
            raise SlqError(f"{place}: id stands twice; expected one entry a claim")
        for model, name, metric in product(test.get("models", ()), test.get("sets", ()), test.get("metrics", ())):
            if paper.recall(model, name, metric) is None:
                raise SlqError(f"{place}: Table 1 has no number of {model} on {name}, {metric}; take it out")
        statement = Statement(entry["id"], entry["sentence"], entry["where"], test, ())
        named = test.get("backbones", [])
        if named == "each":
            found += [replace(statement, id=f"{statement.id}/{one}", backbones=(one,)) for one in backbones]
        else:
            found.append(replace(statement, backbones=tuple(backbones if named == "all" else named)))
    return found


def _content(path: Path, paper: Paper) -> list[dict[str, Any]]:
    """The entries of the file, checked; what they name is in the paper's tables."""
    content = read_yaml(path)
    known = {
        "methods": METHODS,
        "sets": dict.fromkeys(name for name, _ in paper.counted),
        "retrieval": dict.fromkeys(name for name, direction in paper.counted if direction),
        "models": dict.fromkeys(number.row for number in paper.table1),
        "rows": dict.fromkeys(number.backbone for number in paper.table3),
    }
    check_schema(content, read_yaml(SCHEMA), str(path), known)
    return list(content["claims"])
