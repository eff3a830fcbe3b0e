"""User files with random faults (hypothesis, tests/odd.py): a correct result, or one message."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from hubrows import ROWS
from listed import annotations, jpeg, sentences, source
from odd import FEW_AND_MANY, SEPARATORS, VALUES, as_lines, damaged, odd_json, outcome, run
from slq.datasets.hub_columns import HUB_LAYOUTS, prepare_questions
from slq.datasets.id_lists import read_id_list
from slq.datasets.local import import_local_split
from slq.datasets.prepare import prepare_split
from slq.datasets.queries import read_queries
from slq.datasets.splits import open_image, read_split
from slq.evaluation.own_data import read_captions

ITEMS = [{"id": str(number), "image": "1.png", "captions": ["a ring", "one ring"]} for number in (1, 2)]
QUESTIONS = [
    {"id": "1", "images": ["1.png"], "question": "<image 1>?", "options": ["a", "b"], "answers": ["A"], "type": "x"},
    {"id": "2", "images": ["1.png", "1.png"], "question": "?", "options": [], "answers": ["a"], "type": "x"},
]
SIDEWAYS = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def encoded(style, **how):
    """Bytes of a small picture of noise."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    Image.fromarray(noise).save(buffer, style, **how)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with one picture, into which tests write."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "test").mkdir()
    (folder / "test/1.png").write_bytes(encoded("PNG"))
    return folder


def prepared(prepare, *arguments):
    """Items of a split prepared into a separate folder; None after a message, which leaves no split."""
    with tempfile.TemporaryDirectory() as data:
        out = Path(data, "mine/test")
        outcome(prepare, *arguments, out)
        return read_split(Path(data), "mine", "test").items if (out / "manifest.json").exists() else None


@FEW_AND_MANY
@pytest.mark.parametrize(("kind", "valid"), [("retrieval", ITEMS), ("retention", QUESTIONS)])
def test_items_of_a_local_dataset(folder, kind, valid, times):
    @given(odd_json(valid, as_lines))
    @example(as_lines([ITEMS[0] | {"captions": ["a\u2028cat", "two\x85cats", "a\u2029ring"]}]))
    @example("".join(json.dumps(one, ensure_ascii=False) + "\r\n" for one in valid).encode("utf-8-sig"))
    @example(as_lines([ITEMS[0] | {"captions": ["a \ud83d"]}]))
    @example(as_lines([ITEMS[0] | {"image": "é" * 300}]))
    @example(b"[" * 99_999)
    def check(data):
        (folder / "test/items.jsonl").write_bytes(data)
        found = prepared(lambda out: import_local_split("mine", "test", kind, "", "row", folder, out))
        written = data.decode("utf-8-sig", "replace").removesuffix("\n").split("\n")
        assert found is None or found == [json.loads(line) for line in written]

    run(check, times)


@FEW_AND_MANY
def test_captions_of_ones_own(folder, times):
    @given(odd_json([{"image": "1.png", "captions": ["a ring"]}], as_lines))
    @example(as_lines([{"image": "é" * 300, "captions": ["a ring"]}]))
    @example(as_lines([{"image": "a\n.png", "captions": ["a ring"]}]))
    def check(data):
        (folder / "captions.jsonl").write_bytes(data)
        found = outcome(read_captions, folder / "captions.jsonl", folder / "test")
        assert found is None or [item["image"] for item in found] == ["1.png"]

    run(check, times)


@FEW_AND_MANY
def test_queries(folder, times):
    @given(odd_json([{"image": "1", "query": "a ring"}, {"image": "2", "query": "a disc"}], as_lines))
    def check(data):
        (folder / "queries.jsonl").write_bytes(data)
        found = outcome(read_queries, folder / "queries.jsonl", "coco", {"1", "2"})
        assert found is None or all(image in {"1", "2"} and text.strip() for image, text in found)

    run(check, times)


@FEW_AND_MANY
def test_lists_of_ids(folder, times):
    @given(st.one_of(damaged(b"1\n22\n"), st.text(SEPARATORS + "1 a\n", max_size=9).map(str.encode)))
    def check(data):
        (folder / "ids.txt").write_bytes(data)
        found = outcome(read_id_list, str(folder / "ids.txt"))
        assert found is None or set(found) == set(data.decode("utf-8-sig").split())

    run(check, times)


KARPATHY = {
    "images": [
        {"filepath": "x", "filename": f"{n}.jpg", "split": "test", "cocoid": n, "sentences": sentences(["a", "b"])}
        for n in (1, 2)
    ]
}


@FEW_AND_MANY
@pytest.mark.parametrize("style", ["karpathy", "coco"])
def test_lists_of_images_with_captions(tmp_path_factory, style, times):
    """The split excludes ids, for which all files that list images are read, and uses Flickr's photo ids."""
    folder, notes = tmp_path_factory.mktemp("source"), json.loads(annotations([1, 2]))
    source(folder, {f"x/{name}.jpg": jpeg(n) for n in (1, 2) for name in (n, f"{n:012d}")})
    (folder / "mine.txt").write_text("1\n")
    listing = {"file": "list.json", "images": "x", "source_splits": ["test"], "exclude_ids": [str(folder / "mine.txt")]}
    settings = {"dataset": "mine", "split": "test", "annotation_format": style, "id_namespace": "coco"}
    settings |= {"allow_leak": False, "flickr_id_files": ["notes.json"], "listing_files": ["list.json", "notes.json"]}

    @given(odd_json(KARPATHY if style == "karpathy" else notes), odd_json(notes), st.booleans())
    def check(data, others, is_sound):
        (folder / "list.json").write_bytes(data)
        (folder / "notes.json").write_bytes(json.dumps(notes).encode() if is_sound else others)
        found = prepared(lambda out: prepare_split(settings | {"listing": listing}, folder, out))
        assert found is None or [item["image"] for item in found] in (["x/2.jpg"], ["x/000000000002.jpg"])

    run(check, times)


LITERALS = ["['a', '\\ud83d']", "[" * 300, "(" * 9999, "-" * 9999 + "1", "[1, 2", "[]", "['<image 3>']", "A", "B"]


@FEW_AND_MANY
@pytest.mark.parametrize("layout", HUB_LAYOUTS)
def test_columns_of_questions(tmp_path_factory, layout, times):
    folder, schema = tmp_path_factory.mktemp("hub"), HUB_LAYOUTS[layout].schema
    file = folder / HUB_LAYOUTS[layout].file_pattern.replace("*/", "Art/").replace("*", "0")
    file.parent.mkdir(exist_ok=True)
    row = {name: {"bytes": one, "path": None} if isinstance(one, bytes) else one for name, one in ROWS[layout].items()}
    table = pa.Table.from_pylist([{name: row.get(name) for name in schema.names}], schema=schema)
    pq.write_table(table, file)
    texts = [name for name in schema.names if isinstance(row.get(name), str)]

    def column(name, value):
        """Bytes of a file with one column replaced; a value of bytes is a text in another encoding."""
        values, buffer = pa.array([value]), io.BytesIO()
        values = values.view(pa.string()) if isinstance(value, bytes) else values
        pq.write_table(table.set_column(schema.names.index(name), name, values), buffer)
        return buffer.getvalue()

    @given(
        st.one_of(
            st.tuples(st.sampled_from(schema.names), VALUES),
            st.tuples(st.sampled_from(texts), st.one_of(st.sampled_from(LITERALS), st.binary(max_size=5))),
            damaged(file.read_bytes()),
        )
    )
    @example(("question", b"caf\xe9"))
    @example(("answer", "['\\ud83d']"))
    @example(("explanation", True))
    @example(("options", "-" * 9999 + "1"))
    @example(("answer", "[0x" + 9999 * "f" + "]"))
    def check(change):
        if not isinstance(change, bytes) and change[0] not in schema.names:
            return
        try:
            data = change if isinstance(change, bytes) else column(*change)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):  # values that parquet cannot store
            return
        file.write_bytes(data)
        found = prepared(lambda out: prepare_questions(layout, folder, out, "mine", "test"))
        assert found is None or len(found) == 1

    run(check, times)


STYLES = {"PNG": {}, "JPEG": {"exif": SIDEWAYS}, "WEBP": {"exif": SIDEWAYS}, "GIF": {}, "TIFF": {}, "BMP": {}}


@pytest.mark.filterwarnings("ignore:::PIL")
@FEW_AND_MANY
@pytest.mark.parametrize("style", STYLES)
def test_images(tmp_path_factory, style, times):
    path = tmp_path_factory.mktemp("images") / "1"

    @given(damaged(encoded(style, **STYLES[style])))
    def check(data):
        path.write_bytes(data)
        image = outcome(open_image, path)
        assert image is None or image.mode == "RGB"

    run(check, times)
