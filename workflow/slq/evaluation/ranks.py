"""Ranks of positives, and recalls computed from them by the any-positive convention of CLIP_benchmark and the paper.

Ties do occur: two captions may have the same words, two images the same bytes. Every rank is therefore computed twice,
with equal similarities counted in the query's favour (optimistic) and against it (pessimistic).
"""

from dataclasses import dataclass

import numpy as np

from slq.common.errors import SlqError

RECALL_KS = (1, 5, 10)
QUERIES_PER_BLOCK = 256  # queries per block: 256 x 25,010 float32 is 26 MB


@dataclass(frozen=True)
class Ranks:
    """Ranks of n positives, int32 (n,), where 1 is the best.

    Attributes:
        optimistic: ranks with equally similar other items counted after the positive.
        pessimistic: ranks with equally similar other items counted before the positive.
    """

    optimistic: np.ndarray
    pessimistic: np.ndarray


@dataclass(frozen=True)
class PositiveRanks:
    """Ranks of all N positives of all queries in the whole gallery, ordered by query, then by item.

    Attributes:
        query_index: the query's index, for each positive (N,).
        item_index: the positive's index in the gallery (N,).
        ranks: the positive's ranks (N,) among all items, the query's other positives included; of equally similar
            positives the one with the lower index comes first.
    """

    query_index: np.ndarray
    item_index: np.ndarray
    ranks: Ranks

    def best_per_query(self) -> Ranks:
        """Return the ranks of each query's best positive (Q,): 1 + the number of more similar non-positives."""
        starts = np.flatnonzero(np.diff(self.query_index, prepend=-1))
        return Ranks(*(np.minimum.reduceat(ranks, starts) for ranks in (self.ranks.optimistic, self.ranks.pessimistic)))


def rank_positives(
    queries: np.ndarray, gallery: np.ndarray, query_image_index: np.ndarray, gallery_image_index: np.ndarray
) -> PositiveRanks:
    """Rank all positives of all queries.

    Args:
        queries: unit vectors (Q, d), float32 or float64.
        gallery: unit vectors (G, d), float32 or float64.
        query_image_index: the image index of each query (Q,).
        gallery_image_index: the image index of each item (G,); an item is a positive of the queries with the same
            index.

    Raises:
        SlqError: there is nothing to rank, embeddings are in half precision or not finite, or a query has no positive.
    """
    check_embeddings("query", queries)
    check_embeddings("item of the gallery", gallery)
    order = np.argsort(gallery_image_index, kind="stable")
    first = np.searchsorted(gallery_image_index[order], query_image_index, side="left")
    num_positives = np.searchsorted(gallery_image_index[order], query_image_index, side="right") - first
    if not num_positives.all():
        without_positive = np.flatnonzero(num_positives == 0)
        raise SlqError(
            f"query {without_positive[0]} has no positive in the gallery ({len(without_positive)} such queries); "
            "rank queries of the gallery's own images only"
        )
    items, optimistic, pessimistic = [], [], []
    # BLAS may round the products of equal vectors differently, by their position in the matrix. In float32 this breaks
    # ties; in float64 the difference disappears when the similarity is rounded to float32.
    gallery_float64 = gallery.astype(np.float64)
    for rows in np.array_split(np.arange(len(queries)), -(-len(queries) // QUERIES_PER_BLOCK)):
        column = np.arange(num_positives[rows].max())
        present = column < num_positives[rows, None]
        positives = order[np.where(present, first[rows, None] + column, 0)]
        ranks = rank_block(
            (queries[rows].astype(np.float64) @ gallery_float64.T).astype(np.float32), positives, present
        )
        items.append(positives[present])
        optimistic.append(ranks.optimistic[present])
        pessimistic.append(ranks.pessimistic[present])
    return PositiveRanks(
        query_index=np.repeat(np.arange(len(queries)), num_positives),
        item_index=np.concatenate(items),
        ranks=Ranks(np.concatenate(optimistic), np.concatenate(pessimistic)),
    )


def rank_block(scores: np.ndarray, positives: np.ndarray, present: np.ndarray) -> Ranks:
    """Rank the positives (B, P) of a block of queries; ranks where `present` is false have no meaning.

    Args:
        scores: similarities (B, G).
        positives: item indices (B, P), padded to the largest number of positives in the block.
        present: which entries of `positives` are not padding (B, P).
    """
    positive_scores = np.where(present, np.take_along_axis(scores, positives, axis=1), -np.inf)
    optimistic, pessimistic = np.empty((2, *positive_scores.shape), dtype=np.int32)
    for column, score in enumerate(positive_scores.T[:, :, None]):
        more = (scores > score).sum(1, dtype=np.int32)
        equal = (scores == score).sum(1, dtype=np.int32)
        equal_own = positive_scores == score
        optimistic[:, column] = 1 + more + equal_own[:, :column].sum(1)
        pessimistic[:, column] = optimistic[:, column] + equal - equal_own.sum(1)
    return Ranks(optimistic, pessimistic)


def check_embeddings(what: str, embeddings: np.ndarray) -> None:
    """Raise SlqError if there are no embeddings, if they are in half precision, or if one is not finite.

    NaN compares neither above nor below any similarity, and would rank first.

    Args:
        what: what the embeddings are of, for messages.
    """
    if not len(embeddings):
        raise SlqError(f"no {what} to rank; a retrieval dataset needs images and captions")
    if embeddings.dtype not in (np.float32, np.float64):
        raise SlqError(f"embeddings are {embeddings.dtype}, expected float32 or float64: half precision makes ties")
    finite = np.isfinite(embeddings).all(1)
    if not finite.all():
        raise SlqError(
            f"the embedding of {what} {np.flatnonzero(~finite)[0]} is not finite ({int((~finite).sum())} such); "
            "the run's weights have diverged: lower its learning rate"
        )


def best_positive_ranks(
    queries: np.ndarray, gallery: np.ndarray, query_image_index: np.ndarray, gallery_image_index: np.ndarray
) -> np.ndarray:
    """Compute the optimistic rank of each query's best positive (Q,), int32.

    For arguments and errors see `rank_positives`.
    """
    return rank_positives(queries, gallery, query_image_index, gallery_image_index).best_per_query().optimistic


def compute_recalls(ranks: np.ndarray) -> dict[str, float]:
    """Compute R@1, R@5 and R@10 in percent: the share of queries whose best positive ranks within K.

    Raises:
        SlqError: there are no ranks.
    """
    if not len(ranks):
        raise SlqError("no ranks: a recall needs at least one query")
    return {f"R@{k}": 100.0 * int((ranks <= k).sum()) / len(ranks) for k in RECALL_KS}


def optimistic_ranks(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the optimistic ranks of both directions.

    In `t2i` a caption retrieves its image, in `i2t` an image retrieves any of its captions.

    Args:
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: the image index of each caption (T,).
    """
    ranks = rank_all_directions(image_embeddings, text_embeddings, caption_to_image)
    return {direction: ranks[direction].optimistic for direction in ("t2i", "i2t")}


def compute_bidirectional_recalls(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray
) -> dict[str, dict[str, float]]:
    """Compute the recalls of both directions; for the arguments see `optimistic_ranks`."""
    return {
        direction: compute_recalls(ranks)
        for direction, ranks in optimistic_ranks(image_embeddings, text_embeddings, caption_to_image).items()
    }


def rank_all_directions(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray
) -> dict[str, Ranks]:
    """Compute ranks of `t2i` (T,), of `i2t` (I,), and of `i2t_strict` (T,): each caption's rank in its image's list.

    Args:
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: the image index of each caption (T,). Each image must occur only once in the
            dataset; `import_local_split` ensures this.
    """
    image_indices = np.arange(len(image_embeddings))
    captions_by_image = rank_positives(image_embeddings, text_embeddings, image_indices, caption_to_image)
    caption_order = np.argsort(captions_by_image.item_index)  # every caption is the positive of one image
    return {
        "t2i": rank_positives(text_embeddings, image_embeddings, caption_to_image, image_indices).best_per_query(),
        "i2t": captions_by_image.best_per_query(),
        "i2t_strict": Ranks(
            captions_by_image.ranks.optimistic[caption_order], captions_by_image.ranks.pessimistic[caption_order]
        ),
    }
