"""Lists of image ids, bundled with the project or supplied by the user, and the selection of items by such lists."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_text_lines

Item = dict[str, Any]
ID_LISTS = Path(__file__).parent / "lists"  # one id per line; docs/data.md states their provenance
# The test images that a training set must not contain, as an id list for each id namespace. An id namespace is the
# collection whose numbers serve as ids, such as COCO's images.
TEST_ID_LISTS = {"coco": "coco_karpathy_test"}
NUMERIC_ID = re.compile(r"0*(\d+)(\.\w+)?$")  # a number, possibly with leading zeros or at the end of a file name
SPLIT_CHECKS: dict[str, tuple[str, Callable[[list[Item]], int | str]]] = {
    "items": ("images or questions", len),
    "captions": ("captions", lambda items: sum(len(item["captions"]) for item in items)),
    "options": ("questions with options", lambda items: sum(bool(item["options"]) for item in items)),
    "types": ("question types", lambda items: len({item["type"] for item in items})),
    "ids_sha256": ("the SHA-256 of its ids in order", lambda items: hash_ids(item["id"] for item in items)),
}


def is_bundled_list(name: str) -> bool:
    """Return whether an id list of this name is bundled with the project."""
    return (ID_LISTS / f"{name}.txt").is_file()


def id_list_path(name: str) -> Path:
    """Return the path of an id list: a bundled one by its name, or else a user's file."""
    return ID_LISTS / f"{name}.txt" if is_bundled_list(name) else Path(name)


def read_id_lines(name: str) -> dict[str, int]:
    """Return each id of a list with the number of its first line.

    Args:
        name: name of a bundled list, or path of a UTF-8 file with at most one id per line.
    """
    path = id_list_path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in ID_LISTS.glob("*.txt")))
        raise SlqError(f"{name}: neither a bundled id list ({known}) nor a file")
    found: dict[str, int] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        if len(words := line.split()) > 1:
            raise SlqError(f"{path}:{number}: {line.strip()!r}; expected one id per line, and nothing else")
        for word in words:
            found.setdefault(word, number)
    if not found:
        raise SlqError(f"{path}: contains no id; expected one id per line")
    return found


def read_id_list(name: str) -> list[str]:
    """Return the distinct ids of a list, as `read_id_lines` reads them."""
    return list(read_id_lines(name))


def sort_ids(ids: Iterable[str]) -> list[str]:
    """Sort ids by length and then alphabetically, so that whole numbers are in numeric order."""
    return sorted(ids, key=lambda one: (len(one), one))


def hash_ids(ids: Iterable[str]) -> str:
    """Compute the SHA-256 of the sorted ids, joined by newlines, to compare them with published lists."""
    return hashlib.sha256("\n".join(sort_ids(ids)).encode()).hexdigest()


def refuse_test_images(name: str, id_namespace: str | None, items: list[dict[str, Any]]) -> None:
    """Refuse a training split that contains images of a published test split.

    The check does not depend on the test datasets of the preset.

    Args:
        name: name of the training dataset.
        id_namespace: namespace of its ids, `datasets.<dataset>.id_namespace` in config.yaml.
        items: items of the training split.
    """
    list_name = TEST_ID_LISTS.get(id_namespace or "")
    if list_name is None:
        return
    test_ids = set(read_id_list(list_name))
    shared = sort_ids(test_ids & {item["id"] for item in items})
    if shared:
        raise SlqError(
            f"{name}/train: contains {len(shared):,} of the {len(test_ids):,} test images of {list_name} (first: "
            f"{shared[0]}), so test scores would be meaningless; exclude them "
            f"(datasets.{name}.splits.train.exclude_ids: [{list_name}] in config.yaml), use another train_dataset, or "
            "set allow_leak: true in the preset, which the tables then state"
        )


def filter_items(
    config_key: str,
    items: Iterable[dict[str, Any]],
    split_config: Mapping[str, Any],
    load_all_ids: Callable[[], set[str]],
) -> list[dict[str, Any]]:
    """Return the items whose id is in every list of `include_ids` and in no list of `exclude_ids`.

    The leak check relies on these lists. An id that belongs to no image, or a list that filters nothing, is therefore
    an error.

    Args:
        config_key: key of the split in config.yaml.
        items: items of the split.
        split_config: configuration of the split, with `include_ids` and `exclude_ids`.
        load_all_ids: function that returns the ids of all images in the source, of all splits.

    Raises:
        SlqError: an id in a user's list belongs to no image, a list has all or none of the items' ids, or no item is
            left.
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
            f"config: {config_key}: its id lists together leave no image; check {config_key}.include_ids and "
            "exclude_ids"
        )
    return [item for item in found if item["id"] in included_ids]


def _select_ids(name: str, config_key: str, ids: set[str], load_all_ids: Callable[[], set[str]]) -> set[str]:
    """Return the ids that are both in a list and in a split; they must be some, but not all, of the split's ids."""
    list_ids = read_id_lines(name)
    if not is_bundled_list(name):
        unknown = [one for one in list_ids if one not in ids]
        all_ids = load_all_ids() if unknown else ids
        unknown = [one for one in unknown if one not in all_ids]
        if unknown:
            raise SlqError(
                f"{name}:{list_ids[unknown[0]]}: no image in the source has the id {unknown[0]!r}"
                f"{_suggest_id(unknown[0], all_ids)} ({config_key}; {len(unknown):,} of {len(list_ids):,} ids are "
                "unknown)"
            )
    selected = ids & list_ids.keys()
    if ids and len(selected) in (0, len(ids)):
        filters_nothing = bool(selected) == config_key.endswith(".include_ids")
        raise SlqError(
            f"config: {config_key}: the list {name} has {'all' if selected else 'none'} of the {len(ids):,} images, "
            f"so it {'filters nothing' if filters_nothing else 'leaves nothing'}; remove it, or name the intended list"
        )
    return selected


def _suggest_id(unknown: str, all_ids: set[str]) -> str:
    """Suggest the known id if an unknown id has leading zeros or is a file name; else give an example of an id."""
    number = NUMERIC_ID.search(unknown)
    if number and number[1] in all_ids:
        return f"; the source has it as {number[1]!r}"
    return f"; an id in the source is, for example, {min(all_ids)!r}" if all_ids else ""


def require_expected_counts(name: str, split_name: str, items: list[Item], expected: Mapping[str, Any]) -> None:
    """Check a split against the expected counts, and the hash of its ids, in config.yaml.

    Args:
        name: name of the dataset.
        split_name: name of the split.
        items: items of the split.
        expected: `datasets.<dataset>.splits.<split>` in config.yaml; its keys that are also in SPLIT_CHECKS are
            checked.
    """
    for key, (description, count) in SPLIT_CHECKS.items():
        if key in expected and (found := count(items)) != expected[key]:
            raise SlqError(
                f"{name}/{split_name}: {description}: {found}, expected {expected[key]} "
                f"(datasets.{name}.splits.{split_name}.{key} in config.yaml); the source has another version of the "
                "dataset: find out which one, and if you want to use it, change the expected value"
            )
