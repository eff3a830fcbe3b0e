"""Queries that a person writes for images of another set's test split: its form, and the split that comes of it."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.datasets.prepared import image_paths, read_split, write_split, written_objects

FORM = '{"image": "<id of an image of the test split>", "query": "<text>"}'
Query = tuple[str, str]  # id of its image, text


def gather_queries(settings: dict[str, Any], queries: Path, data: Path, out: Path) -> None:
    """Write a test split of the images that a file of queries names, in their set's order, each with its queries.

    Args:
        settings: `set`, the new set's name, and `of`, the set whose images they are.
        queries: a JSON object per line (docs/data.md).
        data: prepared sets.

    Raises:
        SlqError: a line is no query, or names an image that the split does not hold; by file and line.
    """
    split = read_split(data, settings["of"], "test")
    found = read_queries(queries, settings["of"], {item["id"] for item in split.items})
    texts: dict[str, list[str]] = {}
    for image, query in found:
        texts.setdefault(image, []).append(query)
    items = [item | {"captions": texts[item["id"]]} for item in split.items if item["id"] in texts]
    files = {path: split.files[path] for item in items for path in image_paths(item)}
    out.mkdir(parents=True, exist_ok=True)
    write_split(out, settings["set"], "test", "retrieval", items, split.root, files, split.numbering)


def read_queries(path: Path, of: str, images: set[str]) -> list[Query]:
    """The queries of a file in its order, each for an image of these ids of the set `of`.

    Raises:
        SlqError: names the file, the line, and what was expected.
    """
    if not path.is_file():
        raise SlqError(f"{path}: not found; expected a file with a query a line, {FORM} (docs/data.md)")
    found: dict[Query, int] = {}
    for number, line in enumerate(written_objects(path, FORM), start=1):
        query = _checked(line, f"{path}:{number}")
        if query[0] not in images:
            raise SlqError(f"{path}:{number}: no image {query[0]!r} in {of}/test; expected one of its {len(images):,}")
        if query in found:
            raise SlqError(f"{path}:{number}: the same image and query as line {found[query]}; take one of them out")
        found[query] = number
    if not found:
        raise SlqError(f"{path}: no query; expected one a line, {FORM}")
    return list(found)


def _checked(query: dict[str, Any], where: str) -> Query:
    """A line's image and query, without blanks around it."""
    if set(query) != {"image", "query"}:
        raise SlqError(f"{where}: the keys {', '.join(query) or 'none'}; expected {FORM}")
    if not all(isinstance(value, str) for value in query.values()):
        raise SlqError(f"{where}: image and query must be text; expected {FORM}")
    if not query["query"].strip():
        raise SlqError(f"{where}: the query is empty; every query needs words")
    return query["image"], query["query"].strip()
