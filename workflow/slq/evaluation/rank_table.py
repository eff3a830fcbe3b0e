"""The ranks of a run on a set as a table, one row per query: what every recall, interval and test is computed from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from slq.errors import SlqError
from slq.evaluation.ranks import Ranks

DIRECTIONS = ("t2i", "i2t", "i2t_strict")
RANKS = ("rank", "rank_pessimistic")


@dataclass(frozen=True)
class Names:
    """Who is who in a retrieval set.

    images (I,), captions (T,): ids, those of captions from `caption_ids`; text_image (T,): each caption's image number.
    """

    images: Sequence[str]
    captions: Sequence[str]
    text_image: np.ndarray

    def queries(self, direction: str) -> pd.DataFrame:
        """The `query` ids of a direction and the `image` that each belongs to; of `i2t_strict` a query is a caption."""
        images = np.asarray(self.images, dtype=object)
        if direction == "i2t":
            return pd.DataFrame({"query": images, "image": images})
        return pd.DataFrame({"query": np.asarray(self.captions, dtype=object), "image": images[self.text_image]})

    def gallery_size(self, direction: str) -> int:
        """How many items a query of a direction ranks: the worst possible rank."""
        return len(self.images if direction == "t2i" else self.captions)


def rank_table(names: Names, ranks: dict[str, Ranks]) -> pd.DataFrame:
    """Columns `direction`, `query`, `image`, `rank` (optimistic) and `rank_pessimistic` (int32).

    Args:
        ranks: of each direction, as `every_rank` found them for the set of these names.
    """
    parts = []
    for direction in DIRECTIONS:
        part = names.queries(direction)
        part.insert(0, "direction", direction)
        part["rank"] = ranks[direction].optimistic
        part["rank_pessimistic"] = ranks[direction].pessimistic
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def match(source: str, table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """A table as it was stored, in the order of its set, each query with its image; the directions that it holds.

    Args:
        source: the file, for messages
        table: columns `direction`, `query`, `rank`, perhaps `rank_pessimistic`

    Raises:
        SlqError: it is empty, lacks a column, or its queries or ranks are not those of the set.
    """
    for column in ("direction", "query", "rank"):
        if column not in table:
            raise SlqError(f"{source}: no column '{column}'; retrieve again")
    if not len(table):
        raise SlqError(f"{source}: holds no ranks; retrieve again")
    strange = sorted(set(table["direction"]) - set(DIRECTIONS))
    if strange:
        raise SlqError(f"{source}: direction {strange[0]!r}, expected one of {', '.join(DIRECTIONS)}; retrieve again")
    return pd.concat(
        [_match_direction(source, table, names, direction) for direction in DIRECTIONS if _holds(table, direction)],
        ignore_index=True,
    )


def _holds(table: pd.DataFrame, direction: str) -> bool:
    return bool((table["direction"] == direction).any())


def _match_direction(source: str, table: pd.DataFrame, names: Names, direction: str) -> pd.DataFrame:
    """The rows of one direction in the order of its set."""
    wanted = names.queries(direction)
    found = table[table["direction"] == direction].drop(columns="image", errors="ignore")
    faults = {
        "occur more than once": found["query"][found["query"].duplicated()],
        "are not in the set": found["query"][~found["query"].isin(wanted["query"])],
        "of the set are missing": wanted["query"][~wanted["query"].isin(found["query"])],
    }
    for fault, queries in faults.items():
        if len(queries):
            raise SlqError(
                f"{source}: {len(queries)} {direction} queries {fault} (first: {queries.iloc[0]!r}); "
                f"the ranks are of another set or version of it; retrieve again"
            )
    ranks = [column for column in RANKS if column in found]
    size = names.gallery_size(direction)
    outside = ~((found[ranks] >= 1) & (found[ranks] <= size)).all(axis=1)
    if outside.any():
        query = found.loc[outside, "query"].iloc[0]
        raise SlqError(
            f"{source}: the {direction} rank of {query!r} is not within 1 and {size}, the size of the set's gallery; "
            "retrieve again"
        )
    joined = wanted.merge(found, on="query", validate="one_to_one")
    return joined[["direction", "query", "image", *ranks]]
