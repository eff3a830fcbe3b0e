"""Recalls on a validation split, which training records and the learning-rate sweep selects by."""

from collections.abc import Callable
from typing import Any

from slq.caching.feature_cache import FeatureCache
from slq.datasets.splits import Split
from slq.evaluation.encode import embed_split
from slq.evaluation.ranks import compute_bidirectional_recalls
from slq.models.backbone import Backbone


def build_recall_validator(
    settings: dict[str, Any],
) -> Callable[[Any, Backbone, Split, FeatureCache | None], dict[str, dict[str, float]]]:
    """Build the function that computes a retriever's recalls on a split.

    The function is passed to training as an argument, because `slq.training` must not import `slq.evaluation`.
    """

    def validate(
        retriever: Any, backbone: Backbone, split: Split, feature_cache: FeatureCache | None
    ) -> dict[str, dict[str, float]]:
        batch_size = settings["training"]["micro_batch_size"]
        return compute_bidirectional_recalls(
            *embed_split(retriever, backbone, split, settings["prompt"], batch_size, feature_cache)
        )

    return validate
