"""Hits by image: the captions of an image are no independent evidence, so whatever counts queries counts by image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from slq.errors import SlqError
from slq.evaluation.ranks import KS


@dataclass(frozen=True)
class Clusters:
    """What each image contributes to a recall.

    images (I,): ids, sorted; queries (I,): how many it has; hits (I, K): how many of them rank within each of `KS`.
    """

    images: np.ndarray
    hits: np.ndarray
    queries: np.ndarray

    def recalls(self) -> dict[str, float]:
        """R@1, R@5 and R@10 in percent: hits among queries."""
        share = 100.0 * self.hits.sum(0) / self.queries.sum()
        return {f"R@{k}": float(value) for k, value in zip(KS, share, strict=True)}


def clusters(table: pd.DataFrame, direction: str, column: str = "rank") -> Clusters:
    """Hits by image of one direction of a table of ranks.

    `t2i` and `i2t` count queries. `i2t_strict` is the mean over images of the share of their captions that rank within
    K (trec_eval's recall, at most 20 % at K = 1 with five captions): each image counts as one, however many captions.

    Args:
        column: `rank`, ties in the query's favour, or `rank_pessimistic`.

    Raises:
        SlqError: the table has no such column, or no rows of the direction.
    """
    for name in ("image", column):
        if name not in table:
            raise SlqError(f"the ranks have no column '{name}', expected of every table of ranks; retrieve again")
    rows = table[table["direction"] == direction]
    if not len(rows):
        raise SlqError(f"no ranks of {direction}: a recall needs at least one query")
    number, images = pd.factorize(rows["image"], sort=True)
    within = rows[column].to_numpy()[:, None] <= np.array(KS)
    queries = np.bincount(number).astype(float)
    hits = np.column_stack([np.bincount(number, hit) for hit in within.T])
    if direction == "i2t_strict":
        hits, queries = hits / queries[:, None], np.ones_like(queries)
    return Clusters(np.asarray(images), hits, queries)


def all_recalls(table: pd.DataFrame, column: str = "rank") -> dict[str, dict[str, float]]:
    """Recalls of each direction that a table of ranks holds."""
    return {direction: clusters(table, direction, column).recalls() for direction in table["direction"].unique()}


def ties(table: pd.DataFrame) -> dict[str, int]:
    """Of each direction, how many ranks depend on how equal similarities are counted."""
    differ = table["rank"] != table["rank_pessimistic"]
    return {direction: int(rows.sum()) for direction, rows in differ.groupby(table["direction"], sort=False)}
