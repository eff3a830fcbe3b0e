"""What finds the candidates: a run, or a comparator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from slq.comparators.embed import Vectors, embed_directions
from slq.comparators.encoder import DIRECTIONS, load_encoders
from slq.data.prepared import Split
from slq.data.snapshots import identity
from slq.evaluation.embed import embed_split
from slq.evaluation.run import adapter_hash, load_run

Embed = Callable[[Split], dict[str, Vectors]]


def load_coarse(settings: dict[str, Any], backbone_folder: Path, coarse: Path) -> Embed:
    """How a split is embedded, of either direction its images and captions.

    Args:
        settings: of the rule; its `coarse` names a `method` of the backbone, or the `model` of a comparator.
        coarse: the method's adapter, or the comparator's snapshot.
    """
    how, size = settings["coarse"], settings["embed_batch"]
    if "method" in how:
        backbone, retriever = load_run(settings, backbone_folder, coarse)
        return lambda split: dict.fromkeys(
            DIRECTIONS, embed_split(retriever, backbone, split, settings["prompt"], size)[:2]
        )
    encoders = load_encoders(how["model"], coarse)
    return lambda split: embed_directions(encoders, split, size)


def coarse_hash(settings: dict[str, Any], coarse: Path) -> str:
    """Identity of what finds the candidates."""
    return adapter_hash(coarse) if "method" in settings["coarse"] else identity(coarse)
