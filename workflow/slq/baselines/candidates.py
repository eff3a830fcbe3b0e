"""The first k of each query's list from the first stage, within the gallery of a variant."""

from dataclasses import dataclass

import numpy as np

from slq.evaluation.rank_table import RetrievalVariant, select_caption_indices
from slq.evaluation.ranks import QUERIES_PER_BLOCK, Ranks


@dataclass(frozen=True)
class Candidates:
    """Numbers in the whole dataset, most similar first, of equally similar ones the one that comes first.

    query_captions (Q,): the captions that the variant counts.
    image_candidates (Q, k): of each of these captions, its candidates.
    caption_candidates (I, k): of each image, its candidates among these captions.
    """

    query_captions: np.ndarray
    image_candidates: np.ndarray
    caption_candidates: np.ndarray


def select_candidates(
    t2i: tuple[np.ndarray, np.ndarray],
    i2t: tuple[np.ndarray, np.ndarray],
    caption_to_image: np.ndarray,
    variant: RetrievalVariant,
    k: int,
) -> Candidates:
    """Candidates of both directions; of a fold's queries among the fold's images and captions, all of fewer than k.

    Args:
        t2i, i2t: images (I, d) and texts (T, d), unit vectors, by which either direction finds.
        caption_to_image (T,): the image number of each caption.
    """
    query_captions = select_caption_indices(caption_to_image, variant)
    count = len(t2i[0])
    fold_size = variant.fold or count
    image_candidates, caption_candidates = [], []
    for fold_start in range(0, count, fold_size):
        fold_images = np.arange(fold_start, fold_start + fold_size)
        fold_captions = query_captions[np.isin(caption_to_image[query_captions], fold_images)]
        image_candidates.append(fold_images[top_k_indices(t2i[1][fold_captions], t2i[0][fold_images], k)])
        caption_candidates.append(fold_captions[top_k_indices(i2t[0][fold_images], i2t[1][fold_captions], k)])
    min_candidates = min(part.shape[1] for part in caption_candidates)  # a fold may have fewer captions than k
    return Candidates(
        query_captions,
        np.concatenate(image_candidates),
        np.concatenate([part[:, :min_candidates] for part in caption_candidates]),
    )


def top_k_indices(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """Numbers (Q, min(k, G)) of the most similar items, best first; similarities are rounded as ranks see them.

    Args:
        queries (Q, d), gallery (G, d): unit vectors.
    """
    gallery_float64 = gallery.astype(np.float64)
    top_indices = []
    for start in range(0, len(queries), QUERIES_PER_BLOCK):
        scores = (queries[start : start + QUERIES_PER_BLOCK].astype(np.float64) @ gallery_float64.T).astype(np.float32)
        top_indices.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(top_indices)


def order_by_pointwise_score(probability: np.ndarray, entropy: np.ndarray, decimals: int) -> np.ndarray:
    """New order (Q, k) of candidates: the higher floored probability, then the smaller entropy, then the first
    stage's place.

    Args:
        probability, entropy (Q, k): of the candidates in the first stage's order, float32.
        decimals: to which probabilities are floored.
    """
    floored = np.floor(probability.astype(np.float64) * 10**decimals)
    return np.lexsort((entropy, -floored))  # stable: what is equal in both keeps its place


def order_by_listwise_choice(probability: np.ndarray) -> np.ndarray:
    """New order (Q, k): the candidate of the highest probability, the others behind it in the first stage's order."""
    chosen = probability.argmax(1)
    is_rest = np.arange(probability.shape[1])[None] != chosen[:, None]
    return np.argsort(is_rest, axis=1, kind="stable")


def update_ranks(ranks: Ranks, is_positive: np.ndarray) -> Ranks:
    """Ranks (Q,) after the first k of each query's list were put into a new order.

    A positive among the candidates gets the first place that one has. The others stand behind all k, where they were;
    one as similar as the last candidate, and cut off because it comes later in the dataset, has rank k + 1 at best.

    Args:
        ranks: of the first stage's list.
        is_positive (Q, k): which candidates, in their new order, are positives.
    """
    k = is_positive.shape[1]
    has_positive, new_rank = is_positive.any(1), (1 + is_positive.argmax(1)).astype(np.int32)
    below_candidates = (np.maximum(one, k + 1) for one in (ranks.optimistic, ranks.pessimistic))
    return Ranks(*(np.where(has_positive, new_rank, one) for one in below_candidates))
