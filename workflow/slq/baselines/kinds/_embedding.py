"""Shared base class of kinds that retrieve with embeddings of a dual encoder, or of a backbone with a read-out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.baselines.registry import BaselineKind, Config, Evaluation


class EmbeddingKind(BaselineKind):
    """Kind whose entries have the key `encoder`, or the keys `backbone` and `readout`."""

    def inputs(self, config: Config, entry: Config) -> dict[str, tuple[str, str]]:
        """Return the encoder or backbone as the only model."""
        return {"model": ("encoders", entry["encoder"]) if "encoder" in entry else ("backbones", entry["backbone"])}

    def settings(self, config: Config, entry: Config) -> Config:
        """Return the model's settings, including the read-out of a backbone."""
        from slq.config.baseline_settings import embedding_settings

        return embedding_settings(config, entry)

    def evaluate(self, settings: Config, inputs: Mapping[str, Path], data: Path, out: Path, events: Any) -> Evaluation:
        """Rank by the model's embeddings."""
        from slq.baselines.encode import rank_by_embeddings

        return rank_by_embeddings(settings, inputs["model"], data, events)
