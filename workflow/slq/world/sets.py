"""Drawn sets on disk: images with captions in the prepared form (docs/data.md), questions by way of the hub's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slq.data.columns import prepare_questions
from slq.data.hubform import write_hub
from slq.data.prepared import write_split
from slq.world.drawing import draw
from slq.world.knowledge import knowledge_captions
from slq.world.language import captions
from slq.world.questions import mmmu_rows, ocrbench_rows, realworldqa_rows
from slq.world.scenes import Scene, take
from slq.world.signs import Sign, signs_to_ask

ROWS: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "mmmu": lambda settings: mmmu_rows(scenes_of(settings), settings["style"]),
    "realworldqa": lambda settings: realworldqa_rows(scenes_of(settings), settings["style"]),
    "ocrbench": lambda settings: ocrbench_rows(signs_of(settings), settings["style"]),
}
CAPTIONS = {"plain": captions, "knowledge": knowledge_captions}


def draw_split(settings: dict[str, Any], out: Path) -> None:
    """Draw one split: `settings` holds set, split, `columns` (of questions), style, the
    slice of scenes or signs (`first`, `count`), the seed, and `words`, in which captions are.

    Questions are written as the hub would hold them, under `out`/hub, and prepared from there as real ones are.
    """
    columns = settings["columns"]
    if columns:
        write_hub(columns, ROWS[columns](settings), out / "hub")
        prepare_questions(columns, out / "hub", out, settings["set"], settings["split"])
        return
    say = CAPTIONS[settings["words"]]
    items = []
    (out / "images").mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes_of(settings), start=settings["first"]):
        name = f"{number:06d}"
        draw(scene, settings["style"]).save(out / "images" / f"{name}.png")
        items.append({"id": name, "image": f"images/{name}.png", "captions": say(scene)})
    write_split(out, settings["set"], settings["split"], "retrieval", items)


def scenes_of(settings: dict[str, Any]) -> list[Scene]:
    """The split's slice of all scenes."""
    return take(settings["seed"], settings["first"], settings["count"])


def signs_of(settings: dict[str, Any]) -> list[Sign]:
    """The split's slice of all signs that pre-training does not see."""
    return signs_to_ask(settings["seed"], settings["first"], settings["count"])
