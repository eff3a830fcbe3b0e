"""Our own numbers as claims: a cell of a rendered table, and the metrics file that it names."""

from collections.abc import Mapping
from pathlib import Path

from slq.evaluation.following import followed
from slq.evaluation.scores import COUNTED
from slq.files import read_json
from slq.plausibility.arithmetic import chance_of_recall
from slq.plausibility.claims import Base, Claim, k_of
from slq.reporting.layout import METHODS
from slq.reporting.records import Record, relative
from slq.runs import BASE_SEED

DIRECTIONS = {"t2i": ("captions", "images"), "i2t": ("images", "captions")}  # what is asked, and what is searched


def measured(cell: Mapping[str, str], results: Path) -> Claim | None:
    """What a measured cell claims; None of a number that is no share of queries or questions.

    Args:
        cell: a row of `cells.csv`
        results: the folder of one folder per preset; sources start from the folder above it

    Raises:
        SlqError: the metrics file that the cell names is not there, or lacks a number.
    """
    name = cell["source"].split("; ")[0]
    path = results.resolve().parent / name
    if path.suffix != ".json":  # counted again from answers: another table has the number
        return None
    match path.parent.name:
        case "retrieval":
            return _recall(cell, path, name)
        case "retention" | "blind":
            return _score(cell, path, name, results)
    return None


def _record(path: Path, name: str) -> Record:
    return Record(path, name, read_json(path))


def _recall(cell: Mapping[str, str], path: Path, name: str) -> Claim | None:
    """A recall: the column is set, direction and R@K."""
    parts = cell["column"].split(" ")
    if len(parts) != 3 or parts[0] != path.stem or parts[1] not in DIRECTIONS:
        return None
    record = _record(path, name)
    queries, gallery = (int(record.number("n", what)) for what in DIRECTIONS[parts[1]])
    positives = max(gallery / queries, 1.0)  # a caption has one image; an image its captions, on average
    if fold := record.at("counted", "fold"):  # galleries of so many images, and their captions
        gallery = round(gallery * fold / record.number("n", "images"))
    chance = chance_of_recall(k_of(parts[2], name), gallery, positives)
    return _claim(cell, "percent", queries, chance=chance)


def _score(cell: Mapping[str, str], path: Path, name: str, results: Path) -> Claim | None:
    """A score of Table 3, or of Table B: of a type, or of base asked blind."""
    rest = cell["row"].split("/", 2)[1:]  # after the backbone a method, or a set and perhaps a type
    record = _record(path, name)
    count, chance = int(record.number("n", "items")), record.number("chance")
    if cell["column"] == path.stem and len(rest) == 1:
        base = _base(path, results, "metrics", "score")
        if record.text("benchmark") in COUNTED:
            return _claim(cell, "hits", count, base, chance * count / 100)
        return _claim(cell, "percent", count, base, chance)
    if rest[:1] != [path.stem]:
        return None
    if rest[1:]:
        type_ = rest[1]
        count, chance = int(record.number("types", type_, "n")), record.number("types", type_, "chance")
        if cell["column"] in METHODS:
            return _claim(cell, "percent", count, _base(path, results, "types", type_, "score"), chance)
    return _claim(cell, "percent", count, chance=chance) if cell["column"] == "blind" else None


def _base(path: Path, results: Path, *keys: str) -> Base | None:
    """What base scored on the same set, if it was asked and the score follows from its answers; None of base itself."""
    method = path.parents[2]
    other = method.with_name("base") / f"seed{BASE_SEED}" / path.parent.name / path.name
    if method.name == "base" or not other.exists():
        return None
    name = relative(other, results)
    record = _record(other, name)
    return None if followed(other, record.content).stale else Base(repr(record.number(*keys)), name)


def _claim(
    cell: Mapping[str, str], unit: str, count: int, base: Base | None = None, chance: float | None = None
) -> Claim:
    return Claim(
        source=cell["source"],
        row=cell["row"],
        column=cell["column"],
        value=cell["value"],
        unit="hits" if unit == "hits" else "percent",
        counts=(count,),
        printed=False,
        runs=int(cell["n"]),
        base=base,
        chance=chance,
    )
