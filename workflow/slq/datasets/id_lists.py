"""Lists of ids, the project's and a person's: what identifies one, and the images that it chooses of a split."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError

Item = dict[str, Any]
ID_LISTS = Path(__file__).parent / "lists"  # one id a line; provenance in docs/data.md
# By what ids are numbers of: the list of the test images that a training set may not hold.
TEST_ID_LISTS = {"coco": "coco_karpathy_test"}
NUMERIC_ID = re.compile(r"0*(\d+)(\.\w+)?$")  # at the end of a file's name, or padded with zeros
SPLIT_CHECKS: dict[str, tuple[str, Callable[[list[Item]], int | str]]] = {
    "items": ("images or questions", len),
    "captions": ("captions", lambda items: sum(len(item["captions"]) for item in items)),
    "options": ("questions with options", lambda items: sum(bool(item["options"]) for item in items)),
    "types": ("types of questions", lambda items: len({item["type"] for item in items})),
    "ids_sha256": ("the SHA-256 of its ids in order", lambda items: hash_ids(item["id"] for item in items)),
}


def is_bundled_list(name: str) -> bool:
    """Whether a list of ids is one of the project's, by its name."""
    return (ID_LISTS / f"{name}.txt").is_file()


def id_list_path(name: str) -> Path:
    """The file of a list of ids: the project's, or a person's."""
    return ID_LISTS / f"{name}.txt" if is_bundled_list(name) else Path(name)


def read_id_lines(name: str) -> dict[str, int]:
    """The line of each id in a list of the project, by its name, or in a file in UTF-8 with one a line or none.

    Raises:
        SlqError: there is neither, or it is not of this form, by its line.
    """
    path = id_list_path(name)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a byte-order mark is no part of an id
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in ID_LISTS.glob("*.txt")))
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


def read_id_list(name: str) -> list[str]:
    """The ids of a list, each once; errors as in `read_id_lines`."""
    return list(read_id_lines(name))


def sort_ids(ids: Iterable[str]) -> list[str]:
    """Ids by length and then by letters, which puts whole numbers in their order."""
    return sorted(ids, key=lambda one: (len(one), one))


def hash_ids(ids: Iterable[str]) -> str:
    """SHA-256 of the ids in order, joined by line ends: how lists of them are compared with published ones."""
    return hashlib.sha256("\n".join(sort_ids(ids)).encode()).hexdigest()


def refuse_test_images(name: str, id_namespace: str | None, items: list[dict[str, Any]]) -> None:
    """Stop a training split that holds images of a published test split, whichever test sets a preset has.

    Args:
        id_namespace: what the ids are numbers of, `datasets.<dataset>.id_namespace` in config.yaml.

    Raises:
        SlqError: with how many they are, and what can be done.
    """
    list_name = TEST_ID_LISTS.get(id_namespace or "")
    if list_name is None:
        return
    test_ids = set(read_id_list(list_name))
    shared = sort_ids(test_ids & {item["id"] for item in items})
    if shared:
        raise SlqError(
            f"{name}/train: holds {len(shared):,} of the {len(test_ids):,} test images of {list_name} (first: "
            f"{shared[0]}): a test of trained images measures nothing; leave them out "
            f"(datasets.{name}.splits.train.exclude_ids: [{list_name}] in config.yaml), take another train_dataset, or "
            "say allow_leak: true in the preset, which the tables then state"
        )


def filter_items(
    config_key: str,
    items: Iterable[dict[str, Any]],
    split_config: Mapping[str, Any],
    load_all_ids: Callable[[], set[str]],
) -> list[dict[str, Any]]:
    """Choose the items with an id in every list of `include_ids` and in none of `exclude_ids`, each read against all of
    them.

    The guard against leaks stands on these lists, so one that has an id of no image, or filters nothing, is a mistake.

    Args:
        config_key: the key of the split in config.yaml.
        split_config: of the split, with `include_ids` and `exclude_ids`.
        load_all_ids: gives the ids of all images that the source lists, of whichever split.

    Raises:
        SlqError: a person's list has an id of no image, by file and line; a list has all or none of the items; or
            nothing is left.
    """
    found = list(items)
    ids = {item["id"] for item in found}
    kept_ids = set(ids)
    for key, names in (
        ("include_ids", split_config.get("include_ids", [])),
        ("exclude_ids", split_config.get("exclude_ids", [])),
    ):
        for name in names:
            selected = _select_ids(name, f"{config_key}.{key}", ids, load_all_ids)
            kept_ids &= selected if key == "include_ids" else ids - selected
    if found and not kept_ids:
        raise SlqError(
            f"config: {config_key}: no image is left by its lists together; look at {config_key}.include_ids and "
            "exclude_ids"
        )
    return [item for item in found if item["id"] in kept_ids]


def _select_ids(name: str, config_key: str, ids: set[str], load_all_ids: Callable[[], set[str]]) -> set[str]:
    """The ids of a list that are in a split: some of them, and not all."""
    list_ids = read_id_lines(name)
    if not is_bundled_list(name):
        unknown = [one for one in list_ids if one not in ids]
        all_ids = load_all_ids() if unknown else ids
        unknown = [one for one in unknown if one not in all_ids]
        if unknown:
            raise SlqError(
                f"{name}:{list_ids[unknown[0]]}: no image that the source lists has the id {unknown[0]!r}"
                f"{_suggest_id(unknown[0], all_ids)} ({config_key}; {len(unknown):,} of {len(list_ids):,} ids are like "
                "this)"
            )
    selected = ids & list_ids.keys()
    if ids and len(selected) in (0, len(ids)):
        filters_nothing = bool(selected) == config_key.endswith(".include_ids")
        raise SlqError(
            f"config: {config_key}: the list {name} has {'all' if selected else 'none'} of the {len(ids):,} images, "
            f"and so {'filters nothing' if filters_nothing else 'leaves nothing'}; take it out, or name the list that "
            "is meant"
        )
    return selected


def _suggest_id(unknown: str, all_ids: set[str]) -> str:
    """What an id is called there, if it is a number with zeros before it or in a file's name."""
    number = NUMERIC_ID.search(unknown)
    if number and number[1] in all_ids:
        return f"; it is called {number[1]!r} there"
    return f"; ids there are like {min(all_ids)!r}" if all_ids else ""


def require_expected_counts(name: str, split_name: str, items: list[Item], expected: Mapping[str, Any]) -> None:
    """Compare a split with those of the keys of `SPLIT_CHECKS` that `expected` has, `datasets.<dataset>.splits.<split>`
    in config.yaml.

    Raises:
        SlqError: the first that differs, with both values.
    """
    for key, (description, count) in SPLIT_CHECKS.items():
        if key in expected and (found := count(items)) != expected[key]:
            raise SlqError(
                f"{name}/{split_name}: {description}: {found}, expected {expected[key]} "
                f"(datasets.{name}.splits.{split_name}.{key} in config.yaml); the source holds another version of the "
                "dataset: find out which, and say there what it holds if you mean it"
            )
