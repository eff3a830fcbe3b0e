"""A baseline as the tables know it: a system that the extended Table 1 shows beside the runs. It has no seed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Baseline:
    """A retrieval system to which the runs are compared.

    Attributes:
        name: the name of its folder, `results/<preset>/baselines/<name>`.
        label: its label in tables.
        group: the group of Table 1 extended that holds it (`slq.baselines.registry.BaselineKind`).
        paper_row: the row of the paper's table that it reproduces or replaces; empty if there is none.
        encoder: the dual encoder that embeds for it, a key of `encoders`, or None.
        backbone: the backbone that embeds for it or re-ranks, a key of `backbones`, or None.
        readout: for a baseline that embeds with a backbone, a key of `readouts`.
        first_stage: the system that retrieves the candidates to re-rank: a method on the same backbone, or a
            comparator.
        reranker: the method whose backbone re-ranks.
        trained_on: in words, the training data of a comparator, or of the comparator that finds the candidates.
    """

    name: str
    label: str
    group: str
    paper_row: str = ""
    encoder: str | None = None
    backbone: str | None = None
    readout: str | None = None
    first_stage: str | None = None
    reranker: str | None = None
    trained_on: str = ""
