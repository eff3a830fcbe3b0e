"""Readers of retention datasets, which convert parquet files of the Hugging Face Hub to prepared splits."""

import ast
import re
import reprlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slq.common.errors import SlqError
from slq.common.files import require_utf8, wrap_parquet_errors, write_bytes
from slq.datasets.id_lists import require_expected_counts
from slq.datasets.questions import (
    MAX_OPTIONS,
    format_choice_question,
    format_open_question,
    marker_numbers,
    option_letters,
    parse_options,
    renumber_markers,
)
from slq.datasets.splits import UnreadableImageError, decode_image, write_split

ROWS_PER_BATCH = 64  # rows read at once; few, because images are large
IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
SAFE_ID = re.compile(r"[\w.-]+")  # an id becomes part of a file name


@dataclass(frozen=True)
class ParquetRow:
    """Row of a parquet file, and the id of the item that is made from it."""

    repository: str
    file: Path
    id: str
    values: dict[str, Any]

    def column_error(self, column: str, expected: str) -> SlqError:
        """Return an error about the value of a column, for the caller to raise."""
        found = reprlib.repr(self.values.get(column))
        return SlqError(
            f"{self.file}: item {self.id!r}: '{column}' must be {expected}, found {found}; "
            f"expected the unchanged files of the hub's {self.repository}"
        )

    def text(self, column: str) -> str:
        """Return the value of a column, which must be a non-empty text."""
        value = self.values[column]
        if not isinstance(value, str) or not value.strip():
            raise self.column_error(column, "a non-empty text")
        return value

    def texts(self, column: str) -> list[str]:
        """Return the value of a column, which must be a list of one or more non-empty texts."""
        value = self.values[column]
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
            raise self.column_error(column, "a list of one or more non-empty texts")
        return value

    def options(self, column: str) -> list[str]:
        """Parse a column with a Python list written as text, as in MMMU; a member `None` becomes the text 'None'."""
        options = parse_list_literal(self.text(column))
        if options is None or not 1 <= len(options) <= MAX_OPTIONS:
            raise self.column_error(column, f"a Python list of 1 to {MAX_OPTIONS} options, written as text")
        return options

    def image(self, column: str, reason: str = "") -> tuple[bytes, str]:
        """Return the bytes of a column's image, which must be readable, and the file suffix of its format.

        The error message adds `reason`, which explains why an image is required.
        """
        value = self.values.get(column)
        data = value.get("bytes") if isinstance(value, dict) else None
        if not data:
            raise self.column_error(column, f"an image, with its bytes{reason}")
        try:
            return data, decode_image(data)[1].lower()
        except UnreadableImageError as error:
            raise self.column_error(column, f"a readable image ({error})") from error


QuestionFields = dict[str, Any]  # keys: question, options, answers, type
ParsedQuestion = tuple[QuestionFields, list[tuple[bytes, str]]]  # an item's fields, and its images as (bytes, suffix)


@dataclass(frozen=True)
class HubLayout:
    """Format in which a hub repository stores its questions."""

    repository: str
    file_pattern: str  # glob in the repository's folder; files are read in the order of their paths
    schema: pa.Schema  # columns of every file
    required_columns: tuple[str, ...]  # columns that are needed to make an item
    parse_row: Callable[[ParquetRow], ParsedQuestion]


def parse_mmmu_row(row: ParquetRow) -> ParsedQuestion:
    """Parse a row of MMMU; the type of a question is its subject.

    The item's images are those with a marker in the question or its options, in the order of the markers' numbers. An
    image with a marker only in the explanation is omitted (MMMU-Benchmark/MMMU#56). The answer to an open question is
    a list of several accepted answers if it is written as a Python list.
    """
    kind, question, answer = row.text("question_type"), row.text("question"), row.text("answer")
    options: list[str] = []
    answers = [answer]
    if kind == "multiple-choice":
        options = row.options("options")
        if answer not in [*option_letters(options)]:
            raise row.column_error("answer", f"the letter of an option, one of {', '.join(option_letters(options))}")
        text = format_choice_question(question, options)
    elif kind == "open":
        answers = parse_answers(row, answer)
        text = format_open_question(question)
    else:
        raise row.column_error("question_type", "multiple-choice or open")
    new_numbers = {old: new for new, old in enumerate(marker_numbers(text), start=1)}
    explanation = row.values["explanation"] or ""
    if not isinstance(explanation, str):
        raise row.column_error("explanation", "a text, or null")
    referenced_columns = {f"image_{number}" for number in (*new_numbers, *marker_numbers(explanation))}
    for column in MMMU_IMAGE_COLUMNS:
        if row.values[column] is not None and column not in referenced_columns:
            raise row.column_error(column, "referenced by a marker in question, options or explanation, or null")
    images = [row.image(f"image_{old}", f", because the marker <image {old}> refers to it") for old in new_numbers]
    fields = {
        "question": renumber_markers(text, new_numbers),
        "options": [renumber_markers(option, new_numbers) for option in options],
        "answers": answers,
        "type": row.file.parent.name,
    }
    return fields, images


def parse_list_literal(text: str) -> list[str] | None:
    """Return the members, as texts, of a Python list that is written as text; None if the text is not such a list."""
    try:
        value = ast.literal_eval(text.strip())
        return [str(member) for member in value] if isinstance(value, list) else None
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):  # as documented
        return None


def parse_answers(row: ParquetRow, answer: str) -> list[str]:
    """Return the members of an answer that is written as a Python list, or else the answer itself.

    An answer such as the interval `[0, 1)` is not a list.
    """
    answers = parse_list_literal(answer)
    if answers is None:
        return [answer]
    if not answers or not all(member.strip() for member in answers):
        raise row.column_error("answer", "a list of one or more non-empty answers")
    return answers


def read_single_image_question(row: ParquetRow) -> str:
    """Return the question of a row with one image.

    Its text is the complete prompt, with the options and the request for an answer.
    """
    question = row.text("question")
    if set(marker_numbers(question)) - {1}:
        raise row.column_error("question", "a text without image markers other than <image 1>")
    return question


def parse_realworldqa_row(row: ParquetRow) -> ParsedQuestion:
    """Parse a row of RealWorldQA.

    A question is multiple choice if it lists options and the answer is the letter of an option.
    """
    question, answer = read_single_image_question(row), row.text("answer")
    options = parse_options(question)
    if answer not in [*option_letters(options)]:
        options = []
    kind = "multiple-choice" if options else "open"
    return {"question": question, "options": options, "answers": [answer], "type": kind}, [row.image("image")]


def parse_ocrbench_row(row: ParquetRow) -> ParsedQuestion:
    """Parse a row of OCRBench; the type of a question determines how its answer is scored."""
    fields = {
        "question": read_single_image_question(row),
        "options": [],
        "answers": row.texts("answer"),
        "type": row.text("question_type"),
    }
    return fields, [row.image("image")]


MMMU_IMAGE_COLUMNS = tuple(f"image_{number}" for number in range(1, 8))
MMMU_TEXT_COLUMNS = ("img_type", "answer", "topic_difficulty", "question_type", "subfield")
HUB_LAYOUTS = {
    "mmmu": HubLayout(
        repository="MMMU/MMMU",
        file_pattern="*/validation-*.parquet",  # one folder per subject
        schema=pa.schema(
            [(name, pa.string()) for name in ("id", "question", "options", "explanation")]
            + [(name, IMAGE_TYPE) for name in MMMU_IMAGE_COLUMNS]
            + [(name, pa.string()) for name in MMMU_TEXT_COLUMNS]
        ),
        required_columns=("id", "question", "options", "explanation", *MMMU_IMAGE_COLUMNS, "answer", "question_type"),
        parse_row=parse_mmmu_row,
    ),
    "realworldqa": HubLayout(
        repository="xai-org/RealworldQA",
        file_pattern="data/test-*.parquet",
        schema=pa.schema([("image", IMAGE_TYPE), ("question", pa.string()), ("answer", pa.string())]),
        required_columns=("image", "question", "answer"),
        parse_row=parse_realworldqa_row,
    ),
    "ocrbench": HubLayout(
        repository="echo840/OCRBench",
        file_pattern="data/test-*.parquet",
        schema=pa.schema(
            [(name, pa.string()) for name in ("dataset", "question", "question_type")]
            + [("answer", pa.list_(pa.string())), ("image", IMAGE_TYPE)]
        ),
        required_columns=("question", "question_type", "answer", "image"),
        parse_row=parse_ocrbench_row,
    ),
}


def prepare_questions(
    hub_layout: str,
    source: Path,
    out: Path,
    name: str,
    split_name: str,
    expected: Mapping[str, Any] | None = None,
    source_commits: Sequence[Mapping[str, str]] = (),
) -> None:
    """Convert the parquet files under `source` to a prepared split in `out`, with unchanged image bytes.

    If a row is invalid, `out` is unchanged.

    Args:
        hub_layout: a key of HUB_LAYOUTS.
        source: folder of the parquet files.
        out: folder of the prepared split.
        name: name of the dataset.
        split_name: name of the split in this project, which may differ from the hub's name.
        expected: expected counts of the split (`require_expected_counts`).
        source_commits: repositories that the files come from, each with its commit.
    """
    staged = out / "images.tmp"
    shutil.rmtree(staged, ignore_errors=True)  # a killed attempt may have left it
    staged.mkdir(parents=True)
    try:
        items = []
        for row in read_rows(hub_layout, source):
            fields, images = HUB_LAYOUTS[hub_layout].parse_row(row)
            require_utf8(fields, f"{row.file}: item {row.id!r}")
            file_names = [
                f"{row.id}_{image_number}.{suffix}" for image_number, (_, suffix) in enumerate(images, start=1)
            ]
            for file, (data, _) in zip(file_names, images, strict=True):
                write_bytes(staged / file, data)
            item = {"id": row.id, "images": [f"images/{file}" for file in file_names], **fields}
            items.append(item)
        require_expected_counts(name, split_name, items, expected or {})
        (out / "manifest.json").unlink(missing_ok=True)  # it lists the previous images
        shutil.rmtree(out / "images", ignore_errors=True)
        staged.rename(out / "images")
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    write_split(out, name, split_name, "retention", items, source_commits=source_commits)


def read_rows(hub_layout: str, source: Path) -> Iterator[ParquetRow]:
    """Yield the rows of all files in order, each with the id of its item.

    The id is the row's `id` column, or else is built from the layout's name and the row's number.

    Raises:
        SlqError: there is no file or no row, a file is not parquet or lacks a column, or an id is invalid or occurs
            twice.
    """
    layout = HUB_LAYOUTS[hub_layout]
    files = sorted(source.glob(layout.file_pattern))
    if not files:
        raise SlqError(
            f"{source}: contains no {layout.file_pattern}; expected the unchanged files of the hub's dataset "
            f"repository {layout.repository} (docs/data.md)"
        )
    file_of_id: dict[str, Path] = {}
    for file in files:
        for values in read_row_values(file, layout):
            row = ParquetRow(
                layout.repository, file, str(values.get("id") or f"{hub_layout}_{len(file_of_id):04d}"), values
            )
            if "id" in layout.required_columns and not SAFE_ID.fullmatch(row.text("id")):
                raise row.column_error("id", "letters, digits, dots, dashes and underscores")
            if row.id in file_of_id:
                raise row.column_error("id", f"unique, but it also occurs in {file_of_id[row.id]}")
            file_of_id[row.id] = file
            yield row
    if not file_of_id:
        raise SlqError(f"{files[0]}: contains no rows; download the hub's {layout.repository} again")


def read_row_values(file: Path, layout: HubLayout) -> Iterator[dict[str, Any]]:
    """Yield the values of the required columns for each row of a parquet file; null becomes None."""
    with wrap_parquet_errors(file, "download it again, not as a git-lfs pointer"), pq.ParquetFile(file) as parquet:
        missing = [column for column in layout.required_columns if column not in parquet.schema_arrow.names]
        if missing:
            raise SlqError(
                f"{file}: has no column '{missing[0]}'; expected the columns of the hub's {layout.repository}: "
                f"{', '.join(layout.schema.names)}"
            )
        for batch in parquet.iter_batches(batch_size=ROWS_PER_BATCH, columns=list(layout.required_columns)):
            yield from batch.to_pylist()
