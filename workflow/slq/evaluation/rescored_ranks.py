"""Stored ranks counted again, without set, model or GPU, beside the recalls that are stored with them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.errors import SlqError
from slq.evaluation.rank_table import DIRECTIONS, RANKS, Names, match
from slq.evaluation.ranks import KS
from slq.evaluation.retrieval import NAMES, SCHEMA, gallery_hash, retrieval_metrics
from slq.evaluation.variants import Variant
from slq.files import read_json, sha256, write_json

FOLDER = "retrieval"  # of a run: where ranks lie
ENDING = ".ranks.parquet"


@dataclass(frozen=True)
class RecountedRanks:
    """A metrics file of a retrieval set: what it says, and what it would say now; `sha256`: of the ranks."""

    of = "ranks"
    path: Path
    stored: dict[str, Any]
    now: dict[str, Any]
    sha256: str

    @property
    def changed(self) -> list[str]:
        """The keys that the ranks no longer give, their own hash among them."""
        keys = [key for key in sorted(self.now) if self.stored.get(key) != self.now[key]]
        return keys + ["inputs.ranks"] * (self.hashed and self.stored["inputs"]["ranks"] != self.sha256)

    @property
    def hashed(self) -> bool:
        """Whether the file says which ranks it was made from; those of earlier versions do not."""
        return "ranks" in self.stored["inputs"]

    def lines(self) -> Iterator[tuple[str, str, str, str]]:
        """Per variant and direction: file, both names (the printed variant's with a star), recalls stored and now."""
        before, after = (by_variant(content) for content in (self.stored, self.now))
        for name, metrics in after.items():
            star = "*" if name == self.now["variant"] else ""
            for direction in DIRECTIONS:
                then = before.get(name, {}).get(direction, {})
                yield str(self.path), f"{name}{star} {direction} R@1 R@5 R@10", shown(then), shown(metrics[direction])

    def write(self) -> None:
        """Put what the ranks give now in place of what is stored."""
        write_json(self.path, self.stored | self.now | {"inputs": self.stored["inputs"] | {"ranks": self.sha256}})


def by_variant(content: dict[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """Recalls of every variant of a metrics file, the printed one first."""
    others = {name: counted["metrics"] for name, counted in content["variants"].items()}
    return {content["variant"]: content["metrics"], **others}


def shown(recalls: dict[str, float]) -> str:
    """Recalls on one line; a dash where there are none."""
    return " ".join(f"{recalls[f'R@{k}']:.2f}" for k in KS) if recalls else "-"


def ranks_beside(metrics: Path) -> Path:
    """The table of ranks of a metrics file's set."""
    return metrics.with_name(metrics.stem + ENDING)


def ranked_files(folder: Path) -> list[Path]:
    """The metrics files of retrieval sets under a folder, each with its ranks beside it.

    Raises:
        SlqError: one of a pair is missing.
    """
    metrics = {path for path in folder.rglob("*.json") if path.parent.name == FOLDER}
    ranks = set(folder.rglob(f"*{ENDING}"))
    expected = {path: path.with_name(path.name.removesuffix(ENDING) + ".json") for path in ranks}
    pairs = [(ranks_beside(path), path) for path in metrics] + [(expected[path], path) for path in ranks]
    for wanted, there in sorted(pairs):
        if wanted not in metrics | ranks:
            raise SlqError(f"{wanted}: does not exist, beside {there.name}; retrieve again")
    return sorted(metrics)


def recount(path: Path) -> RecountedRanks:
    """A metrics file beside what its ranks give now.

    Raises:
        SlqError: the ranks are not those that it was made from.
    """
    stored = read_json(path)
    if not isinstance(stored, dict) or stored.get("schema") != SCHEMA:
        raise SlqError(f"{path}: expected a metrics file of schema {SCHEMA}; retrieve again")
    try:
        variants = [Variant(name, **part["counted"]) for name, part in parts_of(stored).items()]
        table = read_ranks(path, stored)
    except (KeyError, TypeError) as error:
        raise SlqError(f"{path}: key {error} is missing; retrieve again") from error
    now = retrieval_metrics(table, variants, stored["variant"])
    return RecountedRanks(path, stored, now, sha256(ranks_beside(path)))


def parts_of(stored: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a metrics file says of each variant, the printed one first."""
    return {stored["variant"]: stored, **stored["variants"]}


def read_ranks(path: Path, stored: dict[str, Any]) -> pd.DataFrame:
    """The table of ranks behind a metrics file, with the column `variant`; `stored` is the file's content.

    Raises:
        SlqError: it cannot be read, is of another set or gallery, an id stands twice, or one is missing.
    """
    source = ranks_beside(path)
    try:
        table = pd.read_parquet(source)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise SlqError(f"{source}: cannot be read: {error}; retrieve again") from error
    for column in (*NAMES, *RANKS):
        if column not in table:
            raise SlqError(f"{source}: no column '{column}'; retrieve again")
    for name, part in parts_of(stored).items():
        check_variant(source, table[table["variant"] == name], name, part["n"])
    if gallery_hash(table) != stored["inputs"]["gallery"]:
        raise SlqError(
            f"{source}: its queries and images are not those that {path.name} was made from (inputs.gallery): ranks "
            "for another gallery; retrieve again"
        )
    return table


def check_variant(source: Path, table: pd.DataFrame, variant: str, expected: dict[str, int]) -> None:
    """Raise SlqError unless a variant's ranks are whole: as many as expected, each id once, none beyond its gallery."""
    count = table["direction"].value_counts()
    for direction in DIRECTIONS:
        wanted, there = expected["images" if direction == "i2t" else "captions"], int(count.get(direction, 0))
        if there != wanted:
            raise SlqError(
                f"{source}: holds {there} {direction} ranks of variant '{variant}', and the set has {wanted} queries; "
                "retrieve again"
            )
    match(str(source), table, names_of(table))


def names_of(table: pd.DataFrame) -> Names:
    """Who is who in the set that a table ranks, as its own rows say."""
    images = table.loc[table["direction"] == "i2t", "image"].tolist()
    captions = table[table["direction"] == "t2i"]
    number = {image: n for n, image in enumerate(images)}
    # An image that only a caption names is found by the hash of the gallery.
    return Names(images, captions["query"].tolist(), np.array([number.get(image, 0) for image in captions["image"]]))
