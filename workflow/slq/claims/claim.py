"""The paper's claims from `paper_tables/reference/claims.yaml`, each with the test that decides it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.config.yaml_files import SCHEMA_FOLDER, check_schema, read_yaml
from slq.methods.registry import list_methods
from slq.results.paper import Paper

SCHEMA_FILE = SCHEMA_FOLDER / "claims.schema.yaml"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, in our words.

    Attributes:
        id: the entry's id, followed by `/<backbone>` if the entry makes one claim per backbone
        sentence: the claim
        location: where the paper makes the claim
        test: a kind of test in `claims.schema.yaml`, and its keys
        backbones: rows of Table 3 that the verdict covers; one row if the entry makes one claim per backbone, and none
            if no test can decide the claim
    """

    id: str
    sentence: str
    location: str
    test: Mapping[str, Any]
    backbones: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The kind of the test."""
        return str(self.test["test"])


def read_claims(path: Path, paper: Paper) -> list[Claim]:
    """Read every claim to be judged, in the order of the file; `backbones: each` makes one claim per backbone.

    Raises:
        SlqError: the file does not match its schema, or an entry names something that the reference tables lack
    """
    claims: list[Claim] = []
    backbones = list(dict.fromkeys(number.backbone for number in paper.table("table3")))
    for number, entry in enumerate(_read_entries(path, paper)):
        place, test = f"{path}: claims[{number}] ({entry['id']})", entry["test"]
        if any(entry["id"] == other.id.partition("/")[0] for other in claims):
            raise SlqError(f"{place}: id is used twice; expected one entry per claim")
        for model, name, metric in product(test.get("models", ()), test.get("datasets", ()), test.get("metrics", ())):
            number = paper.find("table1", model, f"{name} {metric}")
            if number is None or number.value is None:
                raise SlqError(
                    f"{place}: Table 1 has no number for {model} on {name}, {metric}; remove it from the test"
                )
        claim = Claim(entry["id"], entry["sentence"], entry["where"], test, ())
        backbone_names = test.get("backbones", [])
        if backbone_names == "each":
            claims += [replace(claim, id=f"{claim.id}/{one}", backbones=(one,)) for one in backbones]
        else:
            claims.append(replace(claim, backbones=tuple(backbones if backbone_names == "all" else backbone_names)))
    return claims


def _read_entries(path: Path, paper: Paper) -> list[dict[str, Any]]:
    """Read the entries of the file; check them against the schema, and their names against the paper's tables."""
    content = read_yaml(path)
    known = {
        "methods": dict.fromkeys(list_methods()),
        "datasets": dict.fromkeys(paper.benchmarks["dataset"]),
        "retrieval": dict.fromkeys(paper.benchmarks.loc[paper.benchmarks["direction"] != "", "dataset"]),
        "models": dict.fromkeys(number.row for number in paper.table("table1")),
        "rows": dict.fromkeys(number.backbone for number in paper.table("table3")),
    }
    check_schema(content, read_yaml(SCHEMA_FILE), str(path), known)
    return list(content["claims"])
