"""What ranks are worth: the content of a retrieval set's metrics file, from its table of ranks alone.

Nothing here needs the set, a model or torch.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from slq.common.files import digest
from slq.evaluation.rank_table import Variant
from slq.evaluation.statistics import LEVEL, RESAMPLES, SEED, all_recalls, clusters, recall_intervals, ties

SCHEMA = 2  # of a retrieval metrics file
BOOTSTRAP = {"unit": "image", "resamples": RESAMPLES, "seed": SEED, "level": LEVEL}
NAMES = ["variant", "direction", "query", "image"]  # columns that say which set and gallery the ranks are of


def retrieval_metrics(table: pd.DataFrame, variants: Sequence[Variant], printed: str) -> dict[str, Any]:
    """Every number of a metrics file that ranks decide: those of the printed variant, and of the others by name.

    Args:
        table: ranks of all variants, with the column `variant`.
    """
    counted = {one.name: count(table[table["variant"] == one.name], one) for one in variants}
    return {"variant": printed, **counted.pop(printed), "variants": counted, "bootstrap": BOOTSTRAP}


def count(table: pd.DataFrame, variant: Variant) -> dict[str, Any]:
    """Tally a variant, and draw both ends of its recalls' intervals in percent, which takes a hundred times as long."""
    drawn = {way: recall_intervals(clusters(table, way), SEED) for way in table["direction"].unique()}
    ends = {way: {key: [one.low, one.high] for key, one in found.items()} for way, found in drawn.items()}
    return {**tally(table, variant), "ci95": ends}


def tally(table: pd.DataFrame, variant: Variant) -> dict[str, Any]:
    """Count recalls with ties in the query's favour and against it, and how many there are of what."""
    queries = table["direction"].value_counts()
    return {
        "counted": {"captions": variant.captions, "fold": variant.fold},
        "metrics": all_recalls(table),
        "pessimistic": all_recalls(table, "rank_pessimistic"),
        "ties": ties(table),
        "n": {"images": int(queries["i2t"]), "captions": int(queries["t2i"])},
    }


def gallery_hash(table: pd.DataFrame) -> str:
    """Identity of the queries and images that are ranked, in order, whatever their ranks."""
    return digest([table[column].tolist() for column in NAMES])
