"""The most similar of many vectors, exactly: every one is compared."""

from collections.abc import Sequence

import numpy as np


def nearest(query: np.ndarray, vectors: np.ndarray, rows: Sequence[int], count: int) -> list[tuple[int, float]]:
    """The `count` items most similar to a query, or all of fewer: number of the item and cosine, best first.

    Args:
        query (d,), vectors (n, d): unit vectors, float32.
        rows: of each item, the number of its vector; several may share one.

    Equal similarities: the item that stands first comes first.
    """
    scores = (vectors @ query)[np.asarray(rows, dtype=np.int64)]
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        candidates = np.flatnonzero(scores >= least)
    else:
        candidates = np.arange(len(scores))
    order = candidates[np.argsort(-scores[candidates], kind="stable")][:count]
    return [(int(item), float(scores[item])) for item in order]
