"""Candidates for re-ranking: the first stage's top k items of each query in the gallery of a variant."""

from dataclasses import dataclass

import numpy as np

from slq.evaluation.rank_table import RetrievalVariant, select_caption_indices
from slq.evaluation.ranks import QUERIES_PER_BLOCK, Ranks


@dataclass(frozen=True)
class Candidates:
    """Candidates of every query, as indices into the full dataset, most similar first; ties in dataset order.

    Attributes:
        query_captions: captions that the variant evaluates (Q,).
        image_candidates: candidate images of each caption in `query_captions` (Q, k).
        caption_candidates: candidate captions of each image (I, k), all of them in `query_captions`.
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
    """Select the top-k candidates of both directions, or all items if there are fewer than k.

    With folds, the candidates of a query are from the query's own fold. If the smallest fold has fewer than k captions,
    the images of all folds get as many caption candidates as this fold has captions.

    Args:
        t2i: image embeddings (I, d) and text embeddings (T, d), unit vectors, for captions that retrieve images.
        i2t: image and text embeddings for images that retrieve captions.
        caption_to_image: image index of each caption (T,).
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
    """Return the indices (Q, min(k, G)) of the most similar items by cosine similarity, best first.

    Similarities are rounded to float32, as in `slq.evaluation.ranks`.

    Args:
        queries: unit vectors (Q, d).
        gallery: unit vectors (G, d).
    """
    gallery_float64 = gallery.astype(np.float64)
    top_indices = []
    for start in range(0, len(queries), QUERIES_PER_BLOCK):
        scores = (queries[start : start + QUERIES_PER_BLOCK].astype(np.float64) @ gallery_float64.T).astype(np.float32)
        top_indices.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(top_indices)


def order_by_pointwise_score(probability: np.ndarray, entropy: np.ndarray, decimals: int) -> np.ndarray:
    """Sort candidates by floored probability (descending), then entropy (ascending), then first-stage position.

    Source: the released code of RetLLM (arXiv 2602.22278).

    Args:
        probability: probability of the positive answer for each candidate (Q, k), float32, in first-stage order.
        entropy: entropy of the next-token distribution in nats (Q, k), float32, in first-stage order.
        decimals: number of decimals to which probabilities are floored.

    Returns:
        the new order (Q, k), as positions in the first-stage order.
    """
    floored = np.floor(probability.astype(np.float64) * 10**decimals)
    return np.lexsort((entropy, -floored))  # stable: tied candidates stay in first-stage order


def order_by_listwise_choice(probability: np.ndarray) -> np.ndarray:
    """Return the order (Q, k) with the most probable candidate first and all others in first-stage order."""
    chosen = probability.argmax(1)
    is_rest = np.arange(probability.shape[1])[None] != chosen[:, None]
    return np.argsort(is_rest, axis=1, kind="stable")


def update_ranks(ranks: Ranks, is_positive: np.ndarray) -> Ranks:
    """Compute ranks (Q,) after the first k items of each query's list are re-ranked.

    If any candidate of a query is a positive, the query's rank is the position of its first positive in the new order.
    Otherwise the query keeps its first-stage rank, but at least k + 1: a positive that ties with the last candidate may
    have been cut off because it comes later in the dataset.

    Args:
        ranks: ranks in the first stage's list (Q,).
        is_positive: mask (Q, k) of the candidates, in their new order, that are positives.
    """
    k = is_positive.shape[1]
    has_positive, new_rank = is_positive.any(1), (1 + is_positive.argmax(1)).astype(np.int32)
    below_candidates = (np.maximum(one, k + 1) for one in (ranks.optimistic, ranks.pessimistic))
    return Ranks(*(np.where(has_positive, new_rank, one) for one in below_candidates))
