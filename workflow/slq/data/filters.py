"""`only` and `without` of a split: lists of ids that choose its images.

The guard against leaks stands on them, so a list that has an id of no image, or filters nothing, is a mistake.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slq.data.forms import Item
from slq.data.ids import read_ids
from slq.errors import SlqError

NUMBER = re.compile(r"0*(\d+)(\.\w+)?$")  # at the end of a file's name, or padded with zeros


def select(where: str, items: Iterable[Item], how: Mapping[str, Any], listed: Callable[[], set[str]]) -> list[Item]:
    """The items with an id in every list of `only` and in none of `without`, each list read against all of them.

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
    if own.path is not None:
        lost = [one for one in own.lines if one not in ids]
        known = listed() if lost else ids
        lost = [one for one in lost if one not in known]
        if lost:
            raise SlqError(
                f"{own.path}:{own.lines[lost[0]]}: no image that the source lists has the id {lost[0]!r}"
                f"{_meant(lost[0], known)} ({key}; {len(lost):,} of {len(own.lines):,} ids are like this)"
            )
    chosen = ids & own.lines.keys()
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
