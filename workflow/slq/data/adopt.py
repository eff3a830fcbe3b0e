"""A set that a person supplies: checked, hashed, and referred to where it lies."""

from pathlib import Path

from slq.data.audit import check_images, check_items, refuse_shared_ids
from slq.data.columns import prepare_questions
from slq.data.prepared import read_items, write_split


def adopt_split(name: str, split: str, kind: str, columns: str, source: Path, out: Path) -> None:
    """Write the prepared form of a supplied split into `out`.

    With `columns`, `source` is a hub's dataset repository as it is downloaded. Without (an empty text),
    `<source>/<split>/items.jsonl` is in the prepared form already: every item and image is checked, and a training
    split is compared with the val and test splits beside it, which stops a leak before anything is trained.

    Raises:
        SlqError: the first fault found, by file and line or id.
    """
    if columns:
        prepare_questions(columns, source, out, name, split)
        return
    folder = source / split
    items = read_items(folder / "items.jsonl", kind)
    check_items(folder, items)
    if split == "train":
        for sibling in ("val", "test"):
            other = source / sibling / "items.jsonl"
            if other.is_file():
                refuse_shared_ids(f"{name}/train", items, f"{name}/{sibling}", read_items(other, kind))
    check_images(folder, items)
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, name, split, kind, items, root=folder)
