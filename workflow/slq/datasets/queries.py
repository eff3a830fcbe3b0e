"""Import of queries that a user has written for images of another dataset's test split."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_json_objects
from slq.datasets.splits import image_paths, read_split, write_split

LINE_FORMAT = '{"image": "<id of an image of the test split>", "query": "<text>"}'
Query = tuple[str, str]  # id of its image, text


def import_queries(settings: dict[str, Any], queries: Path, data: Path, out: Path) -> None:
    """Write a test split of the images that have queries, with the queries as captions.

    The images keep the order of their dataset.

    Args:
        settings: `dataset`, the name of the new dataset, and `images_of`, the dataset that has the images.
        queries: file with one JSON object per line (docs/own-data.md).
        data: folder of the prepared datasets.
        out: folder of the new split.
    """
    split = read_split(data, settings["images_of"], "test")
    found = read_queries(queries, settings["images_of"], {item["id"] for item in split.items})
    texts: dict[str, list[str]] = {}
    for image, query in found:
        texts.setdefault(image, []).append(query)
    items = [item | {"captions": texts[item["id"]]} for item in split.items if item["id"] in texts]
    image_hashes = {path: split.image_hashes[path] for item in items for path in image_paths(item)}
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, settings["dataset"], "test", "retrieval", items, split.root, image_hashes, split.id_namespace)


def read_queries(path: Path, dataset: str, image_ids: set[str]) -> list[Query]:
    """Read the queries of a file in order; each must be for one of `image_ids`, the images of `dataset`."""
    if not path.is_file():
        raise SlqError(f"{path}: not found; expected a file with one query per line, {LINE_FORMAT} (docs/own-data.md)")
    found: dict[Query, int] = {}
    for number, line in enumerate(read_json_objects(path, f"expected {LINE_FORMAT}"), start=1):
        query = _parse_query(line, f"{path}:{number}")
        if query[0] not in image_ids:
            raise SlqError(
                f"{path}:{number}: no image {query[0]!r} in {dataset}/test; expected one of its {len(image_ids):,} ids"
            )
        if query in found:
            raise SlqError(f"{path}:{number}: the same image and query as line {found[query]}; remove one of the lines")
        found[query] = number
    if not found:
        raise SlqError(f"{path}: no query; expected one query per line, {LINE_FORMAT}")
    return list(found)


def _parse_query(query: dict[str, Any], where: str) -> Query:
    """Return the image and the query of a line; blanks around the query are removed."""
    if set(query) != {"image", "query"}:
        raise SlqError(f"{where}: found keys {', '.join(query) or 'none'}; expected {LINE_FORMAT}")
    if not all(isinstance(value, str) for value in query.values()):
        raise SlqError(f"{where}: image and query must be text; expected {LINE_FORMAT}")
    if not query["query"].strip():
        raise SlqError(f"{where}: the query is empty; expected a query with at least one word")
    return query["image"], query["query"].strip()
