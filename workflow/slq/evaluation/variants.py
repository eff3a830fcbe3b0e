"""Other counts from the same embeddings or ranks: fewer captions, folds of a thousand images, part of the queries."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from slq.errors import SlqError
from slq.evaluation.clusters import all_recalls
from slq.evaluation.ranks import both_directions, recalls


def first_captions(text_image: np.ndarray, count: int = 5) -> np.ndarray:
    """Which captions (T,) are among the first `count` of their image: 25,000 of COCO's 25,010, as E5-V and SLQ cut it.

    Args:
        text_image (T,): the image number of each caption.
    """
    return (pd.Series(text_image).groupby(text_image).cumcount() < count).to_numpy()


def fold_recalls(
    images: np.ndarray, texts: np.ndarray, text_image: np.ndarray, size: int = 1000
) -> dict[str, dict[str, float]]:
    """Mean recalls of `t2i` and `i2t` over disjoint folds of `size` images in their order: COCO's 1K protocol.

    Each fold has a gallery of its own, with the captions of its images.

    Args:
        images (I, d), texts (T, d): unit vectors; text_image (T,): the image number of each caption.

    Raises:
        SlqError: the images do not divide into folds.
    """
    if not len(images) or len(images) % size:
        raise SlqError(f"{len(images)} images do not divide into folds of {size}; the 1K protocol needs 5,000")
    folds = []
    for start in range(0, len(images), size):
        inside = (text_image >= start) & (text_image < start + size)
        ranks = both_directions(images[start : start + size], texts[inside], text_image[inside] - start)
        folds.append({direction: recalls(values) for direction, values in ranks.items()})
    return {
        direction: {key: float(np.mean([fold[direction][key] for fold in folds])) for key in recalled}
        for direction, recalled in folds[0].items()
    }


def leak_recalls(table: pd.DataFrame, leaked: Collection[str]) -> dict[str, dict[str, Any]]:
    """Recalls over the queries of images that training has not seen (`clean`) and that it has (`leaked`).

    The gallery stays whole: ranks are those of the full set.

    Args:
        table: ranks with the column `image`; leaked: ids of images of the set that are in the training data.

    Returns:
        For each part `images`, how many, and `metrics`, recalls by direction, or None for a part without images.

    Raises:
        SlqError: an id is not of the set.
    """
    strange = sorted(set(leaked) - set(table["image"]))
    if strange:
        raise SlqError(
            f"{len(strange)} leaked images are not in the set (first: {strange[0]!r}); the audit is of another set"
        )
    seen = table["image"].isin(set(leaked))
    return {
        name: {"images": int(part["image"].nunique()), "metrics": all_recalls(part) if len(part) else None}
        for name, part in (("clean", table[~seen]), ("leaked", table[seen]))
    }
