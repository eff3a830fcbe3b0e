"""The first k of each query's coarse list, within the gallery of a variant."""

from dataclasses import dataclass

import numpy as np

from slq.evaluation.rank_table import Variant, kept_captions
from slq.evaluation.ranks import BLOCK, Ranks


@dataclass(frozen=True)
class Candidates:
    """Numbers in the whole set, most similar first, of equally similar ones the one that comes first.

    captions (Q,): the captions that the variant keeps.
    images (Q, k): of each of these captions, its candidates.
    texts (I, k): of each image, its candidates among these captions.
    """

    captions: np.ndarray
    images: np.ndarray
    texts: np.ndarray


def candidates(
    t2i: tuple[np.ndarray, np.ndarray],
    i2t: tuple[np.ndarray, np.ndarray],
    text_image: np.ndarray,
    variant: Variant,
    k: int,
) -> Candidates:
    """Candidates of both directions; of a fold's queries among the fold's images and captions, all of fewer than k.

    Args:
        t2i, i2t: images (I, d) and texts (T, d), unit vectors, by which either direction finds.
        text_image (T,): the image number of each caption.
    """
    kept = kept_captions(text_image, variant)
    count = len(t2i[0])
    size = variant.fold or count
    images, texts = [], []
    for first in range(0, count, size):
        fold = np.arange(first, first + size)
        inside = kept[np.isin(text_image[kept], fold)]
        images.append(fold[nearest(t2i[1][inside], t2i[0][fold], k)])
        texts.append(inside[nearest(i2t[0][fold], i2t[1][inside], k)])
    least = min(part.shape[1] for part in texts)  # a fold may have fewer captions than k
    return Candidates(kept, np.concatenate(images), np.concatenate([part[:, :least] for part in texts]))


def nearest(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    """Numbers (Q, min(k, G)) of the most similar items, best first; similarities are rounded as ranks see them.

    Args:
        queries (Q, d), gallery (G, d): unit vectors.
    """
    exact = gallery.astype(np.float64)
    found = []
    for start in range(0, len(queries), BLOCK):
        scores = (queries[start : start + BLOCK].astype(np.float64) @ exact.T).astype(np.float32)
        found.append(np.argsort(-scores, axis=1, kind="stable")[:, :k])
    return np.concatenate(found)


def by_truth(probability: np.ndarray, entropy: np.ndarray, decimals: int) -> np.ndarray:
    """New order (Q, k) of candidates: the higher floored probability, then the smaller entropy, then the coarse place.

    Args:
        probability, entropy (Q, k): of the candidates in coarse order, float32.
        decimals: to which probabilities are floored.
    """
    floored = np.floor(probability.astype(np.float64) * 10**decimals)
    return np.lexsort((entropy, -floored))  # stable: what is equal in both keeps its coarse place


def by_choice(probability: np.ndarray) -> np.ndarray:
    """New order (Q, k): the candidate of the highest probability, the others behind it in coarse order."""
    chosen = probability.argmax(1)
    rest = np.arange(probability.shape[1])[None] != chosen[:, None]
    return np.argsort(rest, axis=1, kind="stable")


def moved(ranks: Ranks, positive: np.ndarray) -> Ranks:
    """Ranks (Q,) after the first k of each query's list were put into a new order.

    A positive among the candidates gets the first place that one has. The others stand behind all k, where they were;
    one as similar as the last candidate, and cut off because it comes later in the set, has rank k + 1 at best.

    Args:
        ranks: of the coarse list.
        positive (Q, k): which candidates, in their new order, are positives.
    """
    k = positive.shape[1]
    among, place = positive.any(1), (1 + positive.argmax(1)).astype(np.int32)
    behind = (np.maximum(one, k + 1) for one in (ranks.optimistic, ranks.pessimistic))
    return Ranks(*(np.where(among, place, one) for one in behind))
