"""Rank tables of retrieval datasets: one row per query, direction and variant of the evaluation.

Variants are, for example, five captions per image or folds of 1,000 images. All recalls, confidence intervals and tests
are computed from rank tables.
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
    """Ids of the I images and T captions of a retrieval dataset.

    Attributes:
        image_ids: id of each image (I,).
        caption_ids: id of each caption (T,), from `Split.caption_ids`.
        caption_to_image: image index of each caption (T,).
    """

    image_ids: Sequence[str]
    caption_ids: Sequence[str]
    caption_to_image: np.ndarray

    def build_query_table(self, direction: str) -> pd.DataFrame:
        """Build a table of a direction's queries: the id of each `query`, and of the `image` that it belongs to.

        In the direction `i2t_strict`, each row is a caption.
        """
        images = np.asarray(self.image_ids, dtype=object)
        if direction == "i2t":
            return pd.DataFrame({"query": images, "image": images})
        return pd.DataFrame(
            {"query": np.asarray(self.caption_ids, dtype=object), "image": images[self.caption_to_image]}
        )


def build_rank_table(ids: RetrievalIds, ranks: dict[str, Ranks]) -> pd.DataFrame:
    """Build a table with the columns `direction`, `query`, `image`, `rank` and `rank_pessimistic`.

    Both ranks are int32; `rank` is the optimistic rank.

    Args:
        ranks: ranks of each direction, from `rank_all_directions`.
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
    """Variant of the evaluation of a retrieval dataset.

    Attributes:
        name: name of the variant.
        captions: number of captions per image that are evaluated; None for all.
        fold: number of images per gallery; None for one gallery of all images.
    """

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
    """Build the rank table of one variant, with the variant's name in the column `variant`.

    Args:
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: image index of each caption (T,).
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
    """Return the indices of the captions that a variant evaluates.

    Args:
        caption_to_image: image index of each caption (T,).
    """
    return np.flatnonzero(first_captions_mask(caption_to_image, variant.captions or len(caption_to_image)))


def first_captions_mask(caption_to_image: np.ndarray, count: int = 5) -> np.ndarray:
    """Return a mask (T,) of the captions that are among the first `count` of their image.

    The default of five selects 25,000 of the 25,010 captions of COCO's test split, as E5-V (Jiang et al. 2024) and SLQ
    do.

    Args:
        caption_to_image: image index of each caption (T,).
    """
    return (pd.Series(caption_to_image).groupby(caption_to_image).cumcount() < count).to_numpy()


def rank_within_folds(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray, fold_size: int = 1000
) -> dict[str, Ranks]:
    """Compute ranks within disjoint folds of consecutive images, as in COCO's 1K protocol (five folds of 1,000 images).

    Each fold of `fold_size` images, with the captions of these images, is a separate gallery. The recall over the ranks
    of all folds equals the mean of the folds' recalls if all folds have the same number of captions.

    Args:
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: image index of each caption (T,).

    Raises:
        SlqError: the number of images is not a multiple of `fold_size`.
    """
    if not len(image_embeddings) or len(image_embeddings) % fold_size:
        raise SlqError(
            f"{len(image_embeddings)} images cannot be divided into folds of {fold_size} images; the 1K protocol needs "
            "5,000"
        )
    caption_fold, image_fold = caption_to_image // fold_size, np.arange(len(image_embeddings)) // fold_size
    folds_by_direction = {"t2i": caption_fold, "i2t": image_fold, "i2t_strict": caption_fold}
    found = {
        direction: Ranks(*np.empty((2, len(folds)), dtype=np.int32)) for direction, folds in folds_by_direction.items()
    }
    for fold in range(len(image_embeddings) // fold_size):
        in_fold = caption_fold == fold
        ranks = rank_all_directions(
            image_embeddings[image_fold == fold], text_embeddings[in_fold], caption_to_image[in_fold] - fold * fold_size
        )
        for direction, direction_ranks in ranks.items():
            found[direction].optimistic[folds_by_direction[direction] == fold] = direction_ranks.optimistic
            found[direction].pessimistic[folds_by_direction[direction] == fold] = direction_ranks.pessimistic
    return found


def compute_recalls_by_leakage(table: pd.DataFrame, leaked_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Compute recalls separately for queries whose image is not in the training data (`clean`) and is (`leaked`).

    The gallery is not reduced: the ranks are those in the full dataset.

    Args:
        table: rank table with the column `image`.
        leaked_ids: ids of the dataset's images that occur in the training data; all must belong to the dataset.

    Returns:
        `images`, the number of images, and `metrics`, the recalls by direction, for each part; `metrics` is None for a
        part without images.
    """
    unknown_ids = sorted(set(leaked_ids) - set(table["image"]))
    if unknown_ids:
        raise SlqError(
            f"{len(unknown_ids)} leaked images are not in the dataset (first: {unknown_ids[0]!r}); the leak audit "
            "belongs to another dataset"
        )
    is_leaked = table["image"].isin(set(leaked_ids))
    return {
        name: {"images": int(part["image"].nunique()), "metrics": recalls_by_direction(part) if len(part) else None}
        for name, part in (("clean", table[~is_leaked]), ("leaked", table[is_leaked]))
    }
