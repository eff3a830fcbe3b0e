"""What the keys of a set demand of each other, where it is read from a source: how its splits are listed there.

Imported whenever the Snakefile is read, so nothing heavy here.
"""

from typing import Any

from slq.errors import SlqError

Config = dict[str, Any]
OF_IMAGES = {"file", "of", "images", "only", "without", "captions", "ids_sha256"}
OF_QUESTIONS = {"options", "types"}
NEEDED = {"karpathy": ("file", "of"), "coco": ("file", "images")}  # of each split, by form


def check_reading(key: str, entry: Config) -> None:
    """What is made or fetched is read in a way that fits its kind; only what is fetched says how its splits are listed.

    Raises:
        SlqError: the first key that is missing, or says nothing here.
    """
    questions = entry["kind"] == "retention"
    if questions and "drawn" in entry and "columns" not in entry:
        raise SlqError(f"config: {key}.columns is missing; a drawn retention set is made in the hub's columns")
    if "disputed" in entry and not questions:
        raise SlqError(f"config: {key}.disputed is of questions, and {key}.kind {entry['kind']}; take it out")
    if "columns" in entry and not questions:
        raise SlqError(
            f"config: {key}.columns is '{entry['columns']}', and {key}.kind {entry['kind']}; "
            "only a retention set has columns"
        )
    if "source" in entry:
        _require(key, entry, ["columns"] if questions else ["form", "splits"], "what is fetched is read by it")
        _check_splits(key, entry)
        return
    for name in ("form", "splits", "numbering", "photos"):
        if name in entry:
            raise SlqError(f"config: {key}.{name} says how a source is read, and {key} has no source; take it out")


def _check_splits(key: str, entry: Config) -> None:
    """Each split says what its form needs, and nothing that its kind does not have."""
    foreign = OF_IMAGES if entry["kind"] == "retention" else OF_QUESTIONS
    for split, how in entry.get("splits", {}).items():
        _require(
            f"{key}.splits.{split}", how, NEEDED.get(entry.get("form", ""), ()), f"form {entry.get('form')} needs it"
        )
        for name in sorted(foreign & set(how)):
            raise SlqError(f"config: {key}.splits.{split}.{name} says nothing about a {entry['kind']} set; take it out")


def _require(key: str, entry: Config, names: Any, reason: str) -> None:
    for name in names:
        if name not in entry:
            raise SlqError(f"config: {key}.{name} is missing; {reason}")
