"""Rows into parquet files where and how the hub holds them, for drawn sets: `slq.data.columns` reads them back."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from slq.data.columns import COLUMNS, IMAGE
from slq.errors import SlqError
from slq.files import write_bytes

SHARD = "00000-of-00001"


def write_hub(columns: str, rows: list[dict[str, Any]], source: Path) -> None:
    """Write rows to the places of a layout under `source`, the same bytes for the same rows; no other rows stay there.

    Args:
        columns: a key of COLUMNS.
        rows: values by column, every column of the layout; only an image may be left out, which is null then. An image
            is the bytes of its file, or a picture, which becomes a PNG. Where the layout has a folder per subject, a
            row has its `subject` besides, which is no column.

    Raises:
        SlqError: a row has a column that the layout does not have, or lacks one.
    """
    layout = COLUMNS[columns]
    folder, name = layout.files.split("/")
    by_file: dict[Path, list[dict[str, Any]]] = {}
    for row in rows:
        values = dict(row)
        subject = values.pop("subject") if folder == "*" else folder
        file = source / subject / name.replace("*", SHARD)
        by_file.setdefault(file, []).append(hub_values(values, layout.schema, file))
    for file, values_of_rows in by_file.items():
        buffer = BytesIO()
        pq.write_table(pa.Table.from_pylist(values_of_rows, schema=layout.schema), buffer)
        write_bytes(file, buffer.getvalue())
    for file in set(source.glob(layout.files)) - set(by_file):
        file.unlink()


def hub_values(row: dict[str, Any], schema: pa.Schema, file: Path) -> dict[str, Any]:
    """A row's values as the schema types them, images as the hub's structs."""
    images = {field.name for field in schema if field.type == IMAGE}
    if wrong := (set(row) - set(schema.names)) | (set(schema.names) - images - set(row)):
        raise SlqError(
            f"{file}: a row to be written has an unknown or missing column '{min(wrong)}'; "
            f"expected {', '.join(schema.names)}"
        )
    return row | {name: hub_image(row[name]) for name in images & set(row)}


def hub_image(image: bytes | Image.Image | None) -> dict[str, Any] | None:
    """An image as the hub's struct; a picture is encoded as PNG."""
    if image is None:
        return None
    if isinstance(image, Image.Image):
        buffer = BytesIO()
        image.save(buffer, format="PNG")
        image = buffer.getvalue()
    return {"bytes": image, "path": None}
