"""From scores to a new order, and from that to ranks: numpy alone, so that another tie-break can be tried later."""

import numpy as np

from slq.evaluation.ranks import Ranks


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
