"""Ranks of a dataset as a table, one row per query, in every variant: fewer captions, folds of a thousand images.

It is what every recall, interval and test is computed from.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from slq.common.errors import SlqError
from slq.evaluation.ranks import Ranks, rank_all_directions
from slq.evaluation.statistics import recalls_by_direction

RANK_DIRECTIONS = ("t2i", "i2t", "i2t_strict")
RANK_COLUMNS = ("rank", "rank_pessimistic")


@dataclass(frozen=True)
class RetrievalIds:
    """Who is who in a retrieval dataset.

    image_ids (I,), caption_ids (T,): ids, those of captions from `encode.caption_ids`.
    caption_to_image (T,): the image number of each caption.
    """

    image_ids: Sequence[str]
    caption_ids: Sequence[str]
    caption_to_image: np.ndarray

    def build_query_table(self, direction: str) -> pd.DataFrame:
        """The `query` ids of a direction and the `image` that each belongs to; of `i2t_strict` a query is a caption."""
        images = np.asarray(self.image_ids, dtype=object)
        if direction == "i2t":
            return pd.DataFrame({"query": images, "image": images})
        return pd.DataFrame(
            {"query": np.asarray(self.caption_ids, dtype=object), "image": images[self.caption_to_image]}
        )


def build_rank_table(ids: RetrievalIds, ranks: dict[str, Ranks]) -> pd.DataFrame:
    """Columns `direction`, `query`, `image`, `rank` (optimistic) and `rank_pessimistic` (int32).

    Args:
        ranks: of each direction, as `rank_all_directions` found them for the dataset of these names.
    """
    parts = []
    for direction in RANK_DIRECTIONS:
        part = ids.build_query_table(direction)
        part.insert(0, "direction", direction)
        part["rank"] = ranks[direction].optimistic
        part["rank_pessimistic"] = ranks[direction].pessimistic
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


@dataclass(frozen=True)
class RetrievalVariant:
    """A way to count a dataset: with the first `captions` of each image, in galleries of `fold` images; None: all."""

    name: str
    captions: int | None = None
    fold: int | None = None


def build_variant_table(
    ids: RetrievalIds,
    image_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    caption_to_image: np.ndarray,
    variant: RetrievalVariant,
) -> pd.DataFrame:
    """The table of ranks of one variant, whose name is in the column `variant`.

    Args:
        image_embeddings (I, d), text_embeddings (T, d): unit vectors.
        caption_to_image (T,): the image number of each caption.

    Raises:
        SlqError: the images do not divide into folds.
    """
    caption_indices = select_caption_indices(caption_to_image, variant)
    variant_ids = RetrievalIds(
        ids.image_ids,
        [ids.caption_ids[caption] for caption in caption_indices.tolist()],
        caption_to_image[caption_indices],
    )
    ranks = rank_within_folds(
        image_embeddings,
        text_embeddings[caption_indices],
        variant_ids.caption_to_image,
        variant.fold or len(image_embeddings),
    )
    table = build_rank_table(variant_ids, ranks)
    table.insert(0, "variant", variant.name)
    return table


def select_caption_indices(caption_to_image: np.ndarray, variant: RetrievalVariant) -> np.ndarray:
    """Numbers of the captions that a variant counts; caption_to_image (T,): the image number of each caption."""
    return np.flatnonzero(first_captions_mask(caption_to_image, variant.captions or len(caption_to_image)))


def first_captions_mask(caption_to_image: np.ndarray, count: int = 5) -> np.ndarray:
    """Which captions (T,) are among the first `count` of their image: 25,000 of COCO's 25,010, as E5-V and SLQ cut it.

    Args:
        caption_to_image (T,): the image number of each caption.
    """
    return (pd.Series(caption_to_image).groupby(caption_to_image).cumcount() < count).to_numpy()


def rank_within_folds(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray, fold_size: int = 1000
) -> dict[str, Ranks]:
    """Ranks as of `rank_all_directions`, in disjoint folds of `fold_size` images in their order: COCO's 1K protocol.

    Each fold has a gallery of its own, with the captions of its images. A recall over all these ranks is the mean of
    the folds' recalls where the folds have equally many captions.

    Args:
        image_embeddings (I, d), text_embeddings (T, d): unit vectors.
        caption_to_image (T,): the image number of each caption.

    Raises:
        SlqError: the images do not divide into folds.
    """
    if not len(image_embeddings) or len(image_embeddings) % fold_size:
        raise SlqError(
            f"{len(image_embeddings)} images do not divide into folds of {fold_size}; the 1K protocol needs 5,000"
        )
    caption_fold, image_fold = caption_to_image // fold_size, np.arange(len(image_embeddings)) // fold_size
    folds_by_direction = {"t2i": caption_fold, "i2t": image_fold, "i2t_strict": caption_fold}
    found = {way: Ranks(*np.empty((2, len(folds)), dtype=np.int32)) for way, folds in folds_by_direction.items()}
    for fold in range(len(image_embeddings) // fold_size):
        in_fold = caption_fold == fold
        ranks = rank_all_directions(
            image_embeddings[image_fold == fold], text_embeddings[in_fold], caption_to_image[in_fold] - fold * fold_size
        )
        for way, direction_ranks in ranks.items():
            found[way].optimistic[folds_by_direction[way] == fold] = direction_ranks.optimistic
            found[way].pessimistic[folds_by_direction[way] == fold] = direction_ranks.pessimistic
    return found


def compute_recalls_by_leakage(table: pd.DataFrame, leaked_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Recalls over the queries of images that training has not seen (`clean`) and that it has (`leaked_ids`).

    The gallery stays whole: ranks are those of the full dataset.

    Args:
        table: ranks with the column `image`; leaked_ids: ids of images of the dataset that are in the training data.

    Returns:
        For each part `images`, how many, and `metrics`, recalls by direction, or None for a part without images.

    Raises:
        SlqError: an id is not of the dataset.
    """
    unknown_ids = sorted(set(leaked_ids) - set(table["image"]))
    if unknown_ids:
        raise SlqError(
            f"{len(unknown_ids)} leaked images are not in the dataset (first: {unknown_ids[0]!r}); the audit "
            "is of another dataset"
        )
    is_leaked = table["image"].isin(set(leaked_ids))
    return {
        name: {"images": int(part["image"].nunique()), "metrics": recalls_by_direction(part) if len(part) else None}
        for name, part in (("clean", table[~is_leaked]), ("leaked", table[is_leaked]))
    }
