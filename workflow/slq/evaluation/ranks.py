"""Ranks of the best positive, and recalls from them: the any-positive convention of CLIP_benchmark and the paper."""

import numpy as np

KS = (1, 5, 10)


def best_ranks(
    queries: np.ndarray, gallery: np.ndarray, query_image: np.ndarray, gallery_image: np.ndarray
) -> np.ndarray:
    """Rank of the best positive of each query: 1 + the items that are strictly more similar than it.

    Args:
        queries (Q, d), gallery (G, d): unit vectors, float32.
        query_image (Q,), gallery_image (G,): image numbers; an item is positive where they are equal.

    Returns:
        int32 (Q,). Equal similarities count in the query's favour; only non-positives can outrank.
    """
    ranks = np.empty(len(queries), dtype=np.int32)
    for start in range(0, len(queries), 256):  # 256 x 25,010 float32 is 26 MB
        rows = slice(start, start + 256)
        scores = queries[rows] @ gallery.T
        positive = query_image[rows, None] == gallery_image[None, :]
        best = np.where(positive, scores, -np.inf).max(1, keepdims=True)
        ranks[rows] = 1 + ((scores > best) & ~positive).sum(1)
    return ranks


def recalls(ranks: np.ndarray) -> dict[str, float]:
    """R@1, R@5 and R@10 in percent: the share of queries whose best positive ranks within K."""
    return {f"R@{k}": 100.0 * int((ranks <= k).sum()) / len(ranks) for k in KS}


def both_directions(images: np.ndarray, texts: np.ndarray, text_image: np.ndarray) -> dict[str, np.ndarray]:
    """Ranks of `t2i` (a caption finds its image) and `i2t` (an image finds any of its captions).

    Args:
        images (I, d), texts (T, d): unit vectors; text_image (T,): the image number of each caption.
    """
    image_number = np.arange(len(images))
    return {
        "t2i": best_ranks(texts, images, text_image, image_number),
        "i2t": best_ranks(images, texts, image_number, text_image),
    }
