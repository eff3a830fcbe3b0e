"""The best images of a few captions: what a person looks at to see what a number means."""

from collections.abc import Sequence
from typing import Any

import numpy as np

QUERIES = 6
LENGTH = 5


def spread(count: int) -> np.ndarray:
    """Numbers of six of `count` captions (of all, if there are fewer): k * count // 6, evenly over the set's order."""
    wanted = min(count, QUERIES)
    return np.arange(wanted) * count // wanted


def best_images(queries: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers and similarities of the five most similar images of each query, best first.

    Args:
        queries (Q, d), images (I, d): unit vectors, float32.

    Returns:
        int64 and float32, both (Q, 5), or (Q, I) of fewer images. Equal similarities: the image that stands first in
        the set comes first.
    """
    scores = queries @ images.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :LENGTH]
    return order, np.take_along_axis(scores, order, axis=1)


def top_lists(
    items: Sequence[dict[str, Any]],
    captions: Sequence[str],
    images: np.ndarray,
    texts: np.ndarray,
    text_image: np.ndarray,
    ranks: np.ndarray,
) -> list[dict[str, Any]]:
    """What the chosen captions find, one object per caption (docs/results.md).

    Args:
        items: of the split, in the order of the images; captions: the id of each caption
        images (I, d), texts (T, d): unit vectors; text_image (T,): the image number of each caption
        ranks (T,): of each caption's own image
    """
    numbers = spread(len(texts))
    written = [text for item in items for text in item["captions"]]
    lists = []
    for number, order, scores in zip(numbers, *best_images(texts[numbers], images), strict=True):
        found = zip(order, scores, strict=True)
        lists.append(
            {
                "query": captions[number],
                "text": written[number],
                "image": items[text_image[number]]["id"],
                "rank": int(ranks[number]),
                # Six decimals: what float32 holds of a cosine.
                "top": [{"image": items[image]["id"], "similarity": round(float(score), 6)} for image, score in found],
            }
        )
    return lists
