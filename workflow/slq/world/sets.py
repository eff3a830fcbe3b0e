"""Drawn sets on disk, in the prepared form of docs/data.md."""

import random
from pathlib import Path
from typing import Any

from slq.data.prepared import write_split
from slq.world.drawing import draw
from slq.world.language import captions, questions
from slq.world.scenes import Scene, take


def draw_split(settings: dict[str, Any], out: Path) -> None:
    """Draw one split: `settings` holds set, split, kind, style, the scenes (`first`, `count`) and the seed."""
    scenes = take(settings["seed"], settings["first"], settings["count"])
    (out / "images").mkdir(parents=True, exist_ok=True)
    describe = {"retrieval": retrieval_item, "retention": retention_item}[settings["kind"]]
    items = []
    for number, scene in enumerate(scenes, start=settings["first"]):
        name = f"{number:06d}"
        draw(scene, settings["style"]).save(out / "images" / f"{name}.png")
        items.append(describe(scene, name))
    write_split(out, settings["set"], settings["split"], settings["kind"], items)


def retrieval_item(scene: Scene, name: str) -> dict:
    """One image with its five captions."""
    return {"id": name, "image": f"images/{name}.png", "captions": captions(scene)}


def retention_item(scene: Scene, name: str) -> dict:
    """One question about one image, drawn from the scene's questions by its own hash."""
    question = random.Random(scene.hash).choice(questions(scene))
    return {
        "id": f"q{name}",
        "images": [f"images/{name}.png"],
        "question": question.text,
        "options": [],
        "answers": [question.answer],
        "type": "open",
    }
