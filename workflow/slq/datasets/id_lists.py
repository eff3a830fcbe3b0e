"""Id lists, bundled or a user's: which ids they hold, and which items of a split they select."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_text_lines

Item = dict[str, Any]
ID_LISTS = Path(__file__).parent / "lists"  # one id a line; provenance in docs/data.md
# By id namespace (what ids are numbers of), the list of the test images that a training set may not hold.
TEST_ID_LISTS = {"coco": "coco_karpathy_test"}
NUMERIC_ID = re.compile(r"0*(\d+)(\.\w+)?$")  # a number with leading zeros, or at the end of a file name
SPLIT_CHECKS: dict[str, tuple[str, Callable[[list[Item]], int | str]]] = {
    "items": ("images or questions", len),
    "captions": ("captions", lambda items: sum(len(item["captions"]) for item in items)),
    "options": ("questions with options", lambda items: sum(bool(item["options"]) for item in items)),
    "types": ("types of questions", lambda items: len({item["type"] for item in items})),
    "ids_sha256": ("the SHA-256 of its ids in order", lambda items: hash_ids(item["id"] for item in items)),
}


def is_bundled_list(name: str) -> bool:
    """Return whether a name is that of an id list bundled with the project."""
    return (ID_LISTS / f"{name}.txt").is_file()


def id_list_path(name: str) -> Path:
    """Return the file of an id list, bundled or a user's."""
    return ID_LISTS / f"{name}.txt" if is_bundled_list(name) else Path(name)


def read_id_lines(name: str) -> dict[str, int]:
    """Return each id of a list with the number of its first line.

    The list is a bundled one, by its name, or a UTF-8 file with at most one id a line.

    Raises:
        SlqError: there is neither, or a line is not of this form; the message names the line.
    """
    path = id_list_path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in ID_LISTS.glob("*.txt")))
        raise SlqError(f"{name}: neither a list of ids of the project ({known}) nor a file")
    found: dict[str, int] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        if len(words := line.split()) > 1:
            raise SlqError(f"{path}:{number}: {line.strip()!r}; expected one id a line, and nothing else")
        for word in words:
            found.setdefault(word, number)
    if not found:
        raise SlqError(f"{path}: holds no id; expected one a line")
    return found


def read_id_list(name: str) -> list[str]:
    """Return the ids of a list, each once; errors are those of `read_id_lines`."""
    return list(read_id_lines(name))


def sort_ids(ids: Iterable[str]) -> list[str]:
    """Sort ids by length and then alphabetically, which puts whole numbers in numeric order."""
    return sorted(ids, key=lambda one: (len(one), one))


def hash_ids(ids: Iterable[str]) -> str:
    """Compute the SHA-256 of the sorted ids, joined by line ends, for comparison with published lists."""
    return hashlib.sha256("\n".join(sort_ids(ids)).encode()).hexdigest()


def refuse_test_images(name: str, id_namespace: str | None, items: list[dict[str, Any]]) -> None:
    """Refuse a training split that holds images of a published test split, whatever test datasets a preset has.

    Args:
        id_namespace: what the ids are numbers of, `datasets.<dataset>.id_namespace` in config.yaml.

    Raises:
        SlqError: the split holds such images; the message says how many, and what can be done.
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
    """Return the items whose id is in every list of `include_ids` and in no list of `exclude_ids`.

    Each list is compared with all items. The guard against leaks relies on these lists, so a list that has an id of no
    image, or that filters nothing, is a mistake.

    Args:
        config_key: the key of the split in config.yaml.
        split_config: the split's configuration, with `include_ids` and `exclude_ids`.
        load_all_ids: returns the ids of all images that the source lists, whatever their split.

    Raises:
        SlqError: a user's list has an id of no image (the message names file and line); a list has all or none of the
            items; or no item is left.
    """
    found = list(items)
    ids = {item["id"] for item in found}
    included_ids = set(ids)
    for key, names in (
        ("include_ids", split_config.get("include_ids", [])),
        ("exclude_ids", split_config.get("exclude_ids", [])),
    ):
        for name in names:
            selected = _select_ids(name, f"{config_key}.{key}", ids, load_all_ids)
            included_ids &= selected if key == "include_ids" else ids - selected
    if found and not included_ids:
        raise SlqError(
            f"config: {config_key}: no image is left by its lists together; look at {config_key}.include_ids and "
            "exclude_ids"
        )
    return [item for item in found if item["id"] in included_ids]


def _select_ids(name: str, config_key: str, ids: set[str], load_all_ids: Callable[[], set[str]]) -> set[str]:
    """Return the ids of a list that are in a split, which must be some of the split's ids but not all."""
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
    """Suggest the known id for one written with leading zeros or as a file name; else show an example of an id."""
    number = NUMERIC_ID.search(unknown)
    if number and number[1] in all_ids:
        return f"; it is called {number[1]!r} there"
    return f"; ids there are like {min(all_ids)!r}" if all_ids else ""


def require_expected_counts(name: str, split_name: str, items: list[Item], expected: Mapping[str, Any]) -> None:
    """Check a split against the expected counts, and the hash of its ids, in its configuration.

    Args:
        expected: `datasets.<dataset>.splits.<split>` in config.yaml; those keys of SPLIT_CHECKS that it has are
            compared.

    Raises:
        SlqError: the first value that differs, with both values.
    """
    for key, (description, count) in SPLIT_CHECKS.items():
        if key in expected and (found := count(items)) != expected[key]:
            raise SlqError(
                f"{name}/{split_name}: {description}: {found}, expected {expected[key]} "
                f"(datasets.{name}.splits.{split_name}.{key} in config.yaml); the source holds another version of the "
                "dataset: find out which, and say there what it holds if you mean it"
            )
