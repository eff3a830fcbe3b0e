"""Retention sets in the columns of the hub data that they stand for: parquet in, the prepared form out."""

import ast
import re
import reprlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from slq.common.errors import SlqError
from slq.common.files import write_bytes
from slq.datasets.id_lists import require_expected
from slq.datasets.image_modes import as_rgb
from slq.datasets.prepared import UNREADABLE, write_split
from slq.datasets.questions import choice_text, lettered_options, letters, marked, open_text, renumber

ROWS = 64  # read at once: images are large
IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SAFE_ID = re.compile(r"[\w.-]+")  # it becomes the name of a file


@dataclass(frozen=True)
class Row:
    """A row of a parquet file; `id` names its item."""

    hub: str
    file: Path
    id: str
    values: dict[str, Any]

    def fault(self, column: str, expected: str) -> SlqError:
        """What is wrong with a value, for the caller to raise."""
        found = reprlib.repr(self.values.get(column))
        return SlqError(
            f"{self.file}: item {self.id!r}: '{column}' must be {expected}, found {found}; "
            f"expected the files of the hub's {self.hub} as they are downloaded"
        )

    def text(self, column: str) -> str:
        """A value with words in it."""
        value = self.values[column]
        if not isinstance(value, str) or not value.strip():
            raise self.fault(column, "a text with words")
        return value

    def texts(self, column: str) -> list[str]:
        """A list of at least one text, each with words."""
        value = self.values[column]
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.fault(column, "a list of texts with words, at least one")
        return value

    def options(self, column: str) -> list[str]:
        """A Python list in a string, as MMMU has it; `None` in it is a word like any other."""
        try:
            value = ast.literal_eval(self.text(column).strip())
        except (SyntaxError, ValueError) as error:
            raise self.fault(column, f"a Python list, written as text ({error})") from error
        if not isinstance(value, list) or not 1 <= len(value) <= 26:
            raise self.fault(column, "a Python list of 1 to 26 options, written as text")
        return [str(option) for option in value]

    def image(self, column: str, reason: str = "") -> tuple[bytes, str]:
        """The bytes of an image that opens, and the suffix of its format; `reason` says why there must be one."""
        value = self.values.get(column)
        data = value.get("bytes") if isinstance(value, dict) else None
        if not data:
            raise self.fault(column, f"an image with its bytes{reason}")
        try:
            with Image.open(BytesIO(data)) as image:
                as_rgb(image)
                return data, str(image.format).lower()
        except UNREADABLE as error:
            raise self.fault(column, f"a readable image ({error})") from error


Fields = dict[str, Any]  # question, options, answers, type
Prepared = tuple[Fields, list[tuple[bytes, str]]]  # an item's fields, its images


@dataclass(frozen=True)
class Layout:
    """How a hub repository holds its questions."""

    hub: str
    files: str  # pattern under its folder; files are read in the order of their paths, folder by folder
    schema: pa.Schema  # of every file
    needed: tuple[str, ...]  # columns without which an item cannot be made
    prepare: Callable[[Row], Prepared]


def mmmu_item(row: Row) -> Prepared:
    """The images that markers in question and options name, in the order of their numbers; the type is the subject.

    An image that the explanation alone names is part of the answer's reasons and is not sent (MMMU-Benchmark/MMMU#56).
    An open answer that is written as a Python list holds several accepted answers.
    """
    kind, question, answer = row.text("question_type"), row.text("question"), row.text("answer")
    options: list[str] = []
    answers = [answer]
    if kind == "multiple-choice":
        options = row.options("options")
        if answer not in [*letters(options)]:
            raise row.fault("answer", f"the letter of an option, one of {', '.join(letters(options))}")
        text = choice_text(question, options)
    elif kind == "open":
        answers = listed_answers(row, answer)
        text = open_text(question)
    else:
        raise row.fault("question_type", "multiple-choice or open")
    numbers = {old: new for new, old in enumerate(marked(text), start=1)}
    named = {f"image_{number}" for number in (*numbers, *marked(row.values["explanation"] or ""))}
    for column in MMMU_IMAGES:
        if row.values[column] is not None and column not in named:
            raise row.fault(column, "named by a marker in question, options or explanation, or null")
    images = [row.image(f"image_{old}", f", as the marker <image {old}> asks for it") for old in numbers]
    fields = {
        "question": renumber(text, numbers),
        "options": [renumber(option, numbers) for option in options],
        "answers": answers,
        "type": row.file.parent.name,
    }
    return fields, images


def listed_answers(row: Row, answer: str) -> list[str]:
    """The members of an answer that is a list's literal; else the answer itself, which may be an interval `[0, 1)`."""
    try:
        value = ast.literal_eval(answer.strip())
    except (SyntaxError, ValueError):
        return [answer]
    if not isinstance(value, list):
        return [answer]
    answers = [str(member) for member in value]
    if not answers or not all(member.strip() for member in answers):
        raise row.fault("answer", "a list of answers with words, at least one")
    return answers


def word_for_word(row: Row) -> str:
    """A question about one image, which holds its options and its request itself."""
    question = row.text("question")
    if set(marked(question)) - {1}:
        raise row.fault("question", "a text without markers of images that the row does not have")
    return question


def realworldqa_item(row: Row) -> Prepared:
    """Multiple choice where the question has options and the answer is the letter of one."""
    question, answer = word_for_word(row), row.text("answer")
    options = lettered_options(question)
    if answer not in [*letters(options)]:
        options = []
    kind = "multiple-choice" if options else "open"
    return {"question": question, "options": options, "answers": [answer], "type": kind}, [row.image("image")]


def ocrbench_item(row: Row) -> Prepared:
    """The type decides how an answer is compared."""
    fields = {
        "question": word_for_word(row),
        "options": [],
        "answers": row.texts("answer"),
        "type": row.text("question_type"),
    }
    return fields, [row.image("image")]


MMMU_IMAGES = tuple(f"image_{number}" for number in range(1, 8))
MMMU_TEXTS = ("img_type", "answer", "topic_difficulty", "question_type", "subfield")
COLUMNS = {
    "mmmu": Layout(
        hub="MMMU/MMMU",
        files="*/validation-*.parquet",  # a folder per subject
        schema=pa.schema(
            [(name, pa.string()) for name in ("id", "question", "options", "explanation")]
            + [(name, IMAGE) for name in MMMU_IMAGES]
            + [(name, pa.string()) for name in MMMU_TEXTS]
        ),
        needed=("id", "question", "options", "explanation", *MMMU_IMAGES, "answer", "question_type"),
        prepare=mmmu_item,
    ),
    "realworldqa": Layout(
        hub="xai-org/RealworldQA",
        files="data/test-*.parquet",
        schema=pa.schema([("image", IMAGE), ("question", pa.string()), ("answer", pa.string())]),
        needed=("image", "question", "answer"),
        prepare=realworldqa_item,
    ),
    "ocrbench": Layout(
        hub="echo840/OCRBench",
        files="data/test-*.parquet",
        schema=pa.schema(
            [(name, pa.string()) for name in ("dataset", "question", "question_type")]
            + [("answer", pa.list_(pa.string())), ("image", IMAGE)]
        ),
        needed=("question", "question_type", "answer", "image"),
        prepare=ocrbench_item,
    ),
}


def prepare_questions(
    columns: str,
    source: Path,
    out: Path,
    name: str,
    split: str,
    expected: Mapping[str, Any] | None = None,
    origin: Sequence[Mapping[str, str]] = (),
) -> None:
    """Read the parquet files under `source` and write the prepared form into `out`, images' bytes unchanged.

    Args:
        columns: a key of COLUMNS.
        name: of the set; `split`: what it is to us, whatever the hub calls it.
        expected: what it must hold (`require_expected`).
        origin: the repositories that the files are of, each with its commit.

    Raises:
        SlqError: the first fault found, by file, item, column and what was expected; `out` is then as it was.
    """
    staged = out / "images.tmp"
    shutil.rmtree(staged, ignore_errors=True)  # of an attempt that was killed
    staged.mkdir(parents=True)
    try:
        items = []
        for row in read_rows(columns, source):
            fields, images = COLUMNS[columns].prepare(row)
            names = [f"{row.id}_{place}.{suffix}" for place, (_, suffix) in enumerate(images, start=1)]
            for file, (data, _) in zip(names, images, strict=True):
                write_bytes(staged / file, data)
            item = {"id": row.id, "images": [f"images/{file}" for file in names], **fields}
            items.append(item)
        require_expected(name, split, items, expected or {})
        (out / "manifest.json").unlink(missing_ok=True)  # of other images
        shutil.rmtree(out / "images", ignore_errors=True)
        staged.rename(out / "images")
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    write_split(out, name, split, "retention", items, origin=origin)


def read_rows(columns: str, source: Path) -> Iterator[Row]:
    """The rows of all files in order, each with the id of its item: its own, or the set's name and the row's number.

    Raises:
        SlqError: no file, no row, no parquet, a column that is missing, an id that occurs twice.
    """
    layout = COLUMNS[columns]
    files = sorted(source.glob(layout.files))
    if not files:
        raise SlqError(
            f"{source}: holds no {layout.files}; expected the files of the hub's dataset repository {layout.hub} "
            "as they are downloaded (docs/data.md)"
        )
    seen: dict[str, Path] = {}
    for file in files:
        for values in read_values(file, layout):
            row = Row(layout.hub, file, str(values.get("id") or f"{columns}_{len(seen):04d}"), values)
            if "id" in layout.needed and not SAFE_ID.fullmatch(row.text("id")):
                raise row.fault("id", "letters, digits, dots, dashes and underscores")
            if row.id in seen:
                raise row.fault("id", f"of one item only, and is in {seen[row.id]} already")
            seen[row.id] = file
            yield row
    if not seen:
        raise SlqError(f"{files[0]}: holds no rows; download the hub's {layout.hub} again")


def read_values(file: Path, layout: Layout) -> Iterator[dict[str, Any]]:
    """The needed values of each row of a parquet file; what is null there is None."""
    try:
        with pq.ParquetFile(file) as parquet:
            missing = [column for column in layout.needed if column not in parquet.schema_arrow.names]
            if missing:
                raise SlqError(
                    f"{file}: has no column '{missing[0]}'; expected the columns of the hub's {layout.hub}: "
                    f"{', '.join(layout.schema.names)}"
                )
            for batch in parquet.iter_batches(batch_size=ROWS, columns=list(layout.needed)):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SlqError(
            f"{file}: not a readable parquet file ({error}); download it again, and not as a git-lfs pointer"
        ) from error
