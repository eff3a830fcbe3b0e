"""Metrics of a retrieval dataset, computed from its stored ranks only.

This module needs neither the dataset nor a model nor torch.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from slq.common.files import hash_json
from slq.evaluation.rank_table import RetrievalVariant
from slq.evaluation.statistics import (
    BOOTSTRAP_SEED,
    CONFIDENCE_LEVEL,
    RESAMPLES,
    compute_hits_per_image,
    count_ties,
    recall_intervals,
    recalls_by_direction,
)

SCHEMA = 3  # of a retrieval metrics file
BOOTSTRAP_SETTINGS = {"unit": "image", "resamples": RESAMPLES, "seed": BOOTSTRAP_SEED, "level": CONFIDENCE_LEVEL}
GALLERY_COLUMNS = [
    "variant",
    "direction",
    "query",
    "image",
]  # columns that identify the dataset and gallery of the ranks


def compute_retrieval_metrics(
    table: pd.DataFrame, variants: Sequence[RetrievalVariant], primary_variant: str
) -> dict[str, Any]:
    """Compute the part of a metrics file that ranks determine: the primary variant's metrics, and others by name.

    Args:
        table: ranks of all variants, with the column `variant`.
        primary_variant: name of the variant that tables print.
    """
    metrics_by_variant = {
        one.name: compute_metrics_with_intervals(table[table["variant"] == one.name], one) for one in variants
    }
    return {
        "variant": primary_variant,
        **metrics_by_variant.pop(primary_variant),
        "variants": metrics_by_variant,
        "bootstrap": BOOTSTRAP_SETTINGS,
    }


def compute_metrics_with_intervals(table: pd.DataFrame, variant: RetrievalVariant) -> dict[str, Any]:
    """Compute a variant's metrics with bootstrap confidence intervals of its recalls, `[low, high]` in percent.

    The bootstrap takes about a hundred times as long as `compute_variant_metrics`.
    """
    intervals = {
        direction: recall_intervals(compute_hits_per_image(table, direction), BOOTSTRAP_SEED)
        for direction in table["direction"].unique()
    }
    interval_bounds = {
        direction: {key: [one.low, one.high] for key, one in found.items()} for direction, found in intervals.items()
    }
    return {**compute_variant_metrics(table, variant), "ci95": interval_bounds}


def compute_variant_metrics(table: pd.DataFrame, variant: RetrievalVariant) -> dict[str, Any]:
    """Compute a variant's recalls (optimistic and pessimistic) and its numbers of ties, images and captions."""
    num_queries = table["direction"].value_counts()
    return {
        "variant_settings": {"captions": variant.captions, "fold": variant.fold},
        "metrics": recalls_by_direction(table),
        "pessimistic": recalls_by_direction(table, "rank_pessimistic"),
        "ties": count_ties(table),
        "n": {"images": int(num_queries["i2t"]), "captions": int(num_queries["t2i"])},
    }


def gallery_hash(table: pd.DataFrame) -> str:
    """Hash the queries and images of a rank table in their order, independently of the ranks."""
    return hash_json([table[column].tolist() for column in GALLERY_COLUMNS])
