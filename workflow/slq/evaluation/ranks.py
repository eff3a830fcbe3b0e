"""Ranks of positives in a gallery, and recall@K computed from them.

A query is a hit at K if any of its positives ranks within K, the convention of the SLQ paper and of LAION's
CLIP_benchmark. Ties occur: captions may have the same words, and images the same bytes. Every rank is therefore
computed twice, with ties resolved in favour of the query (optimistic) and against it (pessimistic).
"""

from dataclasses import dataclass

import numpy as np

from slq.common.errors import SlqError

RECALL_KS = (1, 5, 10)
QUERIES_PER_BLOCK = 256  # 256 queries x 25,010 items in float32 take 26 MB


@dataclass(frozen=True)
class Ranks:
    """Ranks of n positives, int32 (n,), where 1 is the best rank.

    Attributes:
        optimistic: ranks with tied non-positives after the positive.
        pessimistic: ranks with tied non-positives before the positive.
    """

    optimistic: np.ndarray
    pessimistic: np.ndarray


@dataclass(frozen=True)
class PositiveRanks:
    """Ranks of all N positives of all queries in the full gallery, ordered by query, then by item.

    Attributes:
        query_index: index of each positive's query (N,).
        item_index: index of each positive in the gallery (N,).
        ranks: ranks of the positives (N,) among all items, including other positives of the same query. Of tied
            positives, the one with the lower index ranks first.
    """

    query_index: np.ndarray
    item_index: np.ndarray
    ranks: Ranks

    def best_per_query(self) -> Ranks:
        """Return the ranks of each query's best positive (Q,)."""
        starts = np.flatnonzero(np.diff(self.query_index, prepend=-1))
        return Ranks(*(np.minimum.reduceat(ranks, starts) for ranks in (self.ranks.optimistic, self.ranks.pessimistic)))


def rank_positives(
    queries: np.ndarray, gallery: np.ndarray, query_image_index: np.ndarray, gallery_image_index: np.ndarray
) -> PositiveRanks:
    """Rank all positives of all queries by cosine similarity.

    Args:
        queries: unit vectors (Q, d), float32 or float64.
        gallery: unit vectors (G, d), float32 or float64.
        query_image_index: image index of each query (Q,).
        gallery_image_index: image index of each gallery item (G,). An item is a positive of all queries with the same
            image index.

    Raises:
        SlqError: there are no queries or items, embeddings are in half precision or not finite, or a query has no
            positive.
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
            "use only queries whose images are in the gallery"
        )
    items, optimistic, pessimistic = [], [], []
    # BLAS may round the dot products of identical vectors differently, depending on their position in the matrix. In
    # float32 this would break ties. In float64 the difference disappears when similarities are rounded to float32.
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
    """Rank the positives (B, P) of a block of B queries; ranks at padding are meaningless.

    Args:
        scores: similarities (B, G).
        positives: gallery indices (B, P), padded to the largest number of positives in the block.
        present: mask (B, P) of the entries of `positives` that are not padding.
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
    """Check that there are embeddings, that they are float32 or float64, and that all are finite.

    A NaN similarity compares as neither greater nor smaller than others, so a NaN positive would rank first.

    Args:
        what: the embedded things, for error messages.
    """
    if not len(embeddings):
        raise SlqError(f"no {what} to rank; a retrieval dataset needs images and captions")
    if embeddings.dtype not in (np.float32, np.float64):
        raise SlqError(f"embeddings are {embeddings.dtype}, expected float32 or float64: half precision causes ties")
    finite = np.isfinite(embeddings).all(1)
    if not finite.all():
        raise SlqError(
            f"the embedding of {what} {np.flatnonzero(~finite)[0]} is not finite ({int((~finite).sum())} such "
            "embeddings); the run's weights have diverged: lower its learning rate"
        )


def best_positive_ranks(
    queries: np.ndarray, gallery: np.ndarray, query_image_index: np.ndarray, gallery_image_index: np.ndarray
) -> np.ndarray:
    """Compute the optimistic rank of each query's best positive (Q,), int32; see `rank_positives` for the arguments."""
    return rank_positives(queries, gallery, query_image_index, gallery_image_index).best_per_query().optimistic


def compute_recalls(ranks: np.ndarray) -> dict[str, float]:
    """Compute R@1, R@5 and R@10 in percent: the share of queries whose best positive has rank K or better."""
    if not len(ranks):
        raise SlqError("no ranks: a recall needs at least one query")
    return {f"R@{k}": 100.0 * int((ranks <= k).sum()) / len(ranks) for k in RECALL_KS}


def optimistic_ranks(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray
) -> dict[str, np.ndarray]:
    """Compute the optimistic ranks of both directions.

    In `t2i`, a caption retrieves its image; in `i2t`, an image retrieves any of its captions.

    Args:
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: image index of each caption (T,).
    """
    ranks = rank_all_directions(image_embeddings, text_embeddings, caption_to_image)
    return {direction: ranks[direction].optimistic for direction in ("t2i", "i2t")}


def compute_bidirectional_recalls(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray
) -> dict[str, dict[str, float]]:
    """Compute the recalls of both directions in percent; see `optimistic_ranks` for the arguments."""
    return {
        direction: compute_recalls(ranks)
        for direction, ranks in optimistic_ranks(image_embeddings, text_embeddings, caption_to_image).items()
    }


def rank_all_directions(
    image_embeddings: np.ndarray, text_embeddings: np.ndarray, caption_to_image: np.ndarray
) -> dict[str, Ranks]:
    """Compute the ranks of all three directions.

    Args:
        image_embeddings: unit vectors of the images (I, d).
        text_embeddings: unit vectors of the captions (T, d).
        caption_to_image: image index of each caption (T,). Each image must occur only once in the dataset;
            `import_local_split` ensures this.

    Returns:
        `t2i` (T,): the rank of each caption's image.
        `i2t` (I,): the rank of each image's best caption.
        `i2t_strict` (T,): the rank of each caption among all captions, with its image as the query.
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
