"""Synthetic datasets on disk, written as prepared splits (docs/own-data.md)."""

from collections import defaultdict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from slq.common.files import write_bytes
from slq.datasets.hub_columns import HUB_LAYOUTS, IMAGE_TYPE, prepare_questions
from slq.datasets.splits import write_split
from slq.synthetic.benchmark_rows import make_mmmu_rows, make_ocrbench_rows, make_realworldqa_rows
from slq.synthetic.drawing import draw_scene
from slq.synthetic.families import draw_trio, select_trios, trio_captions, trio_knowledge_captions
from slq.synthetic.language import knowledge_captions, scene_captions
from slq.synthetic.scenes import held_out_signs, select_scenes

# For each hub layout, the function that makes rows, and the function that selects their scenes or signs.
BENCHMARK_BUILDERS: dict[str, tuple[Callable[..., list[dict[str, Any]]], Callable[..., list[Any]]]] = {
    "mmmu": (make_mmmu_rows, select_scenes),
    "realworldqa": (make_realworldqa_rows, select_scenes),
    "ocrbench": (make_ocrbench_rows, held_out_signs),
}
# By whether scenes have three objects and come in families: the functions that select scenes, draw one, and write its
# captions in each wording.
SCENE_BUILDERS: dict[bool, tuple[Callable[..., list[Any]], Callable[..., Image.Image], dict[str, Any]]] = {
    False: (select_scenes, draw_scene, {"plain": scene_captions, "knowledge": knowledge_captions}),
    True: (select_trios, draw_trio, {"plain": trio_captions, "knowledge": trio_knowledge_captions}),
}
SHARD_NAME = "00000-of-00001"


def draw_split(settings: dict[str, Any], out: Path) -> None:
    """Draw the images of one split and write the prepared split to `out`.

    Questions are first written in the hub's format, under `out`/hub, and then prepared like those of a real benchmark.

    Args:
        settings: `dataset`, `split`, `hub_layout` (for questions), `style`, the slice of scenes or signs (`first`,
            `count`), `seed`, `families` (whether scenes have three objects and come in families of near neighbours),
            and `words`, the wording of the captions.
        out: folder of the prepared split.
    """
    hub_layout, style = settings["hub_layout"], settings["style"]
    slice_arguments = (settings["seed"], settings["first"], settings["count"])
    if hub_layout:
        make_rows, select_contents = BENCHMARK_BUILDERS[hub_layout]
        write_hub_files(hub_layout, make_rows(select_contents(*slice_arguments), style), out / "hub")
        prepare_questions(hub_layout, out / "hub", out, settings["dataset"], settings["split"])
        return
    select, draw, captions_by_words = SCENE_BUILDERS[settings["families"]]
    items = []
    (out / "images").mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(select(*slice_arguments), start=settings["first"]):
        name = f"{number:06d}"
        draw(scene, style).save(out / "images" / f"{name}.png")
        captions = captions_by_words[settings["words"]](scene)
        items.append({"id": name, "image": f"images/{name}.png", "captions": captions})
    write_split(out, settings["dataset"], settings["split"], "retrieval", items)


def write_hub_files(hub_layout: str, rows: list[dict[str, Any]], source: Path) -> None:
    """Write rows to the parquet files of a layout under `source`, and remove the layout's other files.

    Equal rows give identical files.

    Args:
        hub_layout: a key of HUB_LAYOUTS.
        rows: values by column of the layout; a missing column becomes null. An image is given as the bytes of its file
            or as a PIL image, which is encoded as PNG. If the layout has a folder per subject, a row also has a
            `subject`, which is not written as a column.
        source: folder of the files.
    """
    layout = HUB_LAYOUTS[hub_layout]
    folder, name = layout.file_pattern.split("/")
    images = {field.name for field in layout.schema if field.type == IMAGE_TYPE}
    by_file: dict[Path, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        file = source / (row["subject"] if folder == "*" else folder) / name.replace("*", SHARD_NAME)
        by_file[file].append(row | {column: to_hub_image(row[column]) for column in images & set(row)})
    for file, file_rows in by_file.items():
        buffer = BytesIO()
        pq.write_table(pa.Table.from_pylist(file_rows, schema=layout.schema), buffer)
        write_bytes(file, buffer.getvalue())
    for file in set(source.glob(layout.file_pattern)) - set(by_file):
        file.unlink()


def to_hub_image(image: bytes | Image.Image | None) -> dict[str, Any] | None:
    """Convert an image to the hub's struct; a PIL image is encoded as PNG."""
    if image is None:
        return None
    if isinstance(image, Image.Image):
        buffer = BytesIO()
        image.save(buffer, format="PNG")
        image = buffer.getvalue()
    return {"bytes": image, "path": None}
