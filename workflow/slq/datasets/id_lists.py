"""Lists of ids, the project's and a person's: what identifies one, and the images that it chooses of a split."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError

Item = dict[str, Any]
LISTS = Path(__file__).parent / "lists"  # one id a line; provenance in docs/data.md
# By what ids are numbers of: the list of the test images that a training set may not hold.
TESTS = {"coco": "coco_karpathy_test"}
NUMBER = re.compile(r"0*(\d+)(\.\w+)?$")  # at the end of a file's name, or padded with zeros
COUNTED: dict[str, tuple[str, Callable[[list[Item]], int | str]]] = {
    "items": ("images or questions", len),
    "captions": ("captions", lambda items: sum(len(item["captions"]) for item in items)),
    "options": ("questions with options", lambda items: sum(bool(item["options"]) for item in items)),
    "types": ("types of questions", lambda items: len({item["type"] for item in items})),
    "ids_sha256": ("the SHA-256 of its ids in order", lambda items: hash_ids(item["id"] for item in items)),
}


def is_public(name: str) -> bool:
    """Whether a list of ids is one of the project's, by its name."""
    return (LISTS / f"{name}.txt").is_file()


def list_file(name: str) -> Path:
    """The file of a list of ids: the project's, or a person's."""
    return LISTS / f"{name}.txt" if is_public(name) else Path(name)


def read_ids(name: str) -> dict[str, int]:
    """The line of each id in a list of the project, by its name, or in a file in UTF-8 with one a line or none.

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
    return found


def id_list(name: str) -> list[str]:
    """The ids of a list, each once; errors as in `read_ids`."""
    return list(read_ids(name))


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


def select(
    where: str, items: Iterable[dict[str, Any]], how: Mapping[str, Any], listed: Callable[[], set[str]]
) -> list[dict[str, Any]]:
    """Choose the items with an id in every list of `only` and in none of `without`, each read against all of them.

    The guard against leaks stands on these lists, so one that has an id of no image, or filters nothing, is a mistake.

    Args:
        where: the key of the split in config.yaml.
        how: of the split, with `only` and `without`.
        listed: gives the ids of all images that the source lists, of whichever split.

    Raises:
        SlqError: a person's list has an id of no image, by file and line; a list has all or none of the items; or
            nothing is left.
    """
    found = list(items)
    ids = {item["id"] for item in found}
    kept = set(ids)
    for key, names in (("only", how.get("only", [])), ("without", how.get("without", []))):
        for name in names:
            chosen = _chosen(name, f"{where}.{key}", ids, listed)
            kept &= chosen if key == "only" else ids - chosen
    if found and not kept:
        raise SlqError(f"config: {where}: no image is left by its lists together; look at {where}.only and without")
    return [item for item in found if item["id"] in kept]


def _chosen(name: str, key: str, ids: set[str], listed: Callable[[], set[str]]) -> set[str]:
    """The ids of a list that are in a split: some of them, and not all."""
    own = read_ids(name)
    if not is_public(name):
        lost = [one for one in own if one not in ids]
        known = listed() if lost else ids
        lost = [one for one in lost if one not in known]
        if lost:
            raise SlqError(
                f"{name}:{own[lost[0]]}: no image that the source lists has the id {lost[0]!r}"
                f"{_meant(lost[0], known)} ({key}; {len(lost):,} of {len(own):,} ids are like this)"
            )
    chosen = ids & own.keys()
    if ids and len(chosen) in (0, len(ids)):
        idle = bool(chosen) == key.endswith(".only")
        raise SlqError(
            f"config: {key}: the list {name} has {'all' if chosen else 'none'} of the {len(ids):,} images, and so "
            f"{'filters nothing' if idle else 'leaves nothing'}; take it out, or name the list that is meant"
        )
    return chosen


def _meant(lost: str, known: set[str]) -> str:
    """What an id is called there, if it is a number with zeros before it or in a file's name."""
    number = NUMBER.search(lost)
    if number and number[1] in known:
        return f"; it is called {number[1]!r} there"
    return f"; ids there are like {min(known)!r}" if known else ""


def require_expected(name: str, split: str, items: list[Item], asked: Mapping[str, Any]) -> None:
    """Compare a split with those of the keys of `COUNTED` that `asked` has, `sets.<set>.splits.<split>` in config.yaml.

    Raises:
        SlqError: the first that differs, with both values.
    """
    for key, (what, count) in COUNTED.items():
        if key in asked and (found := count(items)) != asked[key]:
            raise SlqError(
                f"{name}/{split}: {what}: {found}, expected {asked[key]} (sets.{name}.splits.{split}.{key} in "
                "config.yaml); the source holds another version of the set: find out which, and say there what it "
                "holds if you mean it"
            )
