"""Description of a baseline for the tables: a system without seeds that the extended Table 1 compares with the runs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Baseline:
    """Retrieval system with which the runs are compared.

    Attributes:
        name: name of its folder, `results/<preset>/baselines/<name>`.
        label: label in tables.
        group: group of rows in the extended Table 1 (`slq.baselines.registry.BaselineKind`).
        paper_row: row of the paper's table that the baseline reproduces or replaces; empty if there is none.
        encoder: dual encoder that computes the embeddings, a key of `encoders`, or None.
        backbone: backbone that computes the embeddings or re-ranks, a key of `backbones`, or None.
        readout: a key of `readouts` if a backbone computes the embeddings.
        first_stage: system that retrieves the candidates for re-ranking: a method on the same backbone, or a
            comparator.
        reranker: method whose backbone re-ranks the candidates.
        trained_on: description of the training data of the comparator, which may be the first stage.
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
