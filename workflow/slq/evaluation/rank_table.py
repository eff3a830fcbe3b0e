"""Ranks of a set as a table, one row per query, in every variant: fewer captions, folds of a thousand images.

It is what every recall, interval and test is computed from.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slq.common.errors import SlqError
from slq.evaluation.ranks import Ranks, every_rank
from slq.evaluation.statistics import all_recalls

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


@dataclass(frozen=True)
class Variant:
    """A way to count a set: with the first `captions` of each image, in galleries of `fold` images; None: with all."""

    name: str
    captions: int | None = None
    fold: int | None = None


def variant_table(
    names: Names, images: np.ndarray, texts: np.ndarray, text_image: np.ndarray, variant: Variant
) -> pd.DataFrame:
    """The table of ranks of one variant, whose name is in the column `variant`.

    Args:
        images (I, d), texts (T, d): unit vectors; text_image (T,): the image number of each caption.

    Raises:
        SlqError: the images do not divide into folds.
    """
    kept = kept_captions(text_image, variant)
    cut = Names(names.images, [names.captions[caption] for caption in kept.tolist()], text_image[kept])
    ranks = fold_ranks(images, texts[kept], cut.text_image, variant.fold or len(images))
    table = rank_table(cut, ranks)
    table.insert(0, "variant", variant.name)
    return table


def kept_captions(text_image: np.ndarray, variant: Variant) -> np.ndarray:
    """Numbers of the captions that a variant counts; text_image (T,): the image number of each caption."""
    return np.flatnonzero(first_captions(text_image, variant.captions or len(text_image)))


def first_captions(text_image: np.ndarray, count: int = 5) -> np.ndarray:
    """Which captions (T,) are among the first `count` of their image: 25,000 of COCO's 25,010, as E5-V and SLQ cut it.

    Args:
        text_image (T,): the image number of each caption.
    """
    return (pd.Series(text_image).groupby(text_image).cumcount() < count).to_numpy()


def fold_ranks(images: np.ndarray, texts: np.ndarray, text_image: np.ndarray, size: int = 1000) -> dict[str, Ranks]:
    """Ranks as `every_rank` gives them, within disjoint folds of `size` images in their order: COCO's 1K protocol.

    Each fold has a gallery of its own, with the captions of its images. A recall over all these ranks is the mean of
    the folds' recalls where the folds have equally many captions.

    Args:
        images (I, d), texts (T, d): unit vectors; text_image (T,): the image number of each caption.

    Raises:
        SlqError: the images do not divide into folds.
    """
    if not len(images) or len(images) % size:
        raise SlqError(f"{len(images)} images do not divide into folds of {size}; the 1K protocol needs 5,000")
    caption_fold, image_fold = text_image // size, np.arange(len(images)) // size
    within = {"t2i": caption_fold, "i2t": image_fold, "i2t_strict": caption_fold}
    found = {way: Ranks(*np.empty((2, len(folds)), dtype=np.int32)) for way, folds in within.items()}
    for fold in range(len(images) // size):
        inside = caption_fold == fold
        ranks = every_rank(images[image_fold == fold], texts[inside], text_image[inside] - fold * size)
        for way, own in ranks.items():
            found[way].optimistic[within[way] == fold] = own.optimistic
            found[way].pessimistic[within[way] == fold] = own.pessimistic
    return found


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
