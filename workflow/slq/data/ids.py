"""Lists of public ids that come with the project, and what identifies a list."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.errors import SlqError

LISTS = Path(__file__).parent / "lists"  # one id a line; provenance in docs/data.md
# By what ids are numbers of: the list of the test images that a training set may not hold.
TESTS = {"coco": "coco_karpathy_test"}


@dataclass(frozen=True)
class Ids:
    """A list of ids: the line of each, and the file, unless the project has the list."""

    lines: dict[str, int]
    path: Path | None


def is_public(name: str) -> bool:
    """Whether a list of ids is one of the project's, by its name."""
    return (LISTS / f"{name}.txt").is_file()


def list_file(name: str) -> Path:
    """The file of a list of ids: the project's, or a person's."""
    return LISTS / f"{name}.txt" if is_public(name) else Path(name)


def read_ids(name: str) -> Ids:
    """A list of the project, by its name, or a file in UTF-8 with one id a line; lines without any do not count.

    Raises:
        SlqError: there is neither, or it is not of this form, by its line.
    """
    path = list_file(name)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a byte-order mark is no part of an id
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in LISTS.glob("*.txt")))
        raise SlqError(
            f"{name}: neither a list of ids of the project ({known}) nor a file ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise SlqError(f"{path}: cannot be read: {error}; save it as UTF-8, one id a line") from error
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if len(words := line.split()) > 1:
            raise SlqError(f"{path}:{number}: {line.strip()!r}; expected one id a line, and nothing else")
        for word in words:
            found.setdefault(word, number)
    if not found:
        raise SlqError(f"{path}: holds no id; expected one a line")
    return Ids(found, None if is_public(name) else path)


def id_list(name: str) -> list[str]:
    """The ids of a list, each once; errors as in `read_ids`."""
    return list(read_ids(name).lines)


def in_order(ids: Iterable[str]) -> list[str]:
    """Ids by length and then by letters, which puts whole numbers in their order."""
    return sorted(ids, key=lambda one: (len(one), one))


def hash_ids(ids: Iterable[str]) -> str:
    """SHA-256 of the ids in order, joined by line ends: how lists of them are compared with published ones."""
    return hashlib.sha256("\n".join(in_order(ids)).encode()).hexdigest()


def refuse_test_images(name: str, numbering: str | None, items: list[dict[str, Any]]) -> None:
    """Stop a training split that holds images of a published test split, whichever test sets a preset has.

    Args:
        numbering: what the ids are numbers of, `sets.<set>.numbering` in config.yaml.

    Raises:
        SlqError: with how many they are, and what can be done.
    """
    listed = TESTS.get(numbering or "")
    if listed is None:
        return
    test = set(id_list(listed))
    shared = in_order(test & {item["id"] for item in items})
    if shared:
        raise SlqError(
            f"{name}/train: holds {len(shared):,} of the {len(test):,} test images of {listed} (first: {shared[0]}): a "
            f"test of trained images measures nothing; leave them out (sets.{name}.splits.train.without: [{listed}] in "
            "config.yaml), take another train_set, or say allow_leak: true in the preset, which the tables then state"
        )
