"""The baselines that the extended Table 1 shows beside the runs: comparators, zero-shot read-outs, re-ranked lists.

A baseline has no seed. Imported whenever the Snakefile is read, so no heavy imports here.
"""

from dataclasses import dataclass
from typing import Any, Literal

from slq.config.runs import is_method, method_entry

Config = dict[str, Any]
BaselineKind = Literal["comparator", "zero_shot", "rerank"]


@dataclass(frozen=True)
class Baseline:
    """A retrieval system to which the runs are compared.

    Attributes:
        name: the name of its folder, `results/<preset>/baselines/<name>`.
        kind: comparator, zero_shot (a read-out without training) or rerank.
        label: its label in tables.
        paper_row: the row of the paper's table that it reproduces or replaces; empty if there is none.
        encoder: the dual encoder that embeds for it, a key of `encoders`, or None.
        backbone: the backbone that embeds for it or re-ranks, a key of `backbones`, or None.
        readout: for a baseline that embeds with a backbone, a key of `readouts`.
        first_stage: the system that retrieves the candidates to re-rank: a method on the same backbone, or a
            comparator.
        reranker: the method whose backbone re-ranks.
        trained_on: in words, the training data of a comparator; empty for other baselines.
    """

    name: str
    kind: BaselineKind
    label: str
    paper_row: str = ""
    encoder: str | None = None
    backbone: str | None = None
    readout: str | None = None
    first_stage: str | None = None
    reranker: str | None = None
    trained_on: str = ""

    @property
    def is_embedding_based(self) -> bool:
        """Whether it retrieves with its own embeddings, without re-ranking."""
        return self.kind != "rerank"


def list_baselines(config: Config) -> list[Baseline]:
    """List the baselines of the active preset, in the order of the table."""
    preset, backbones = config["presets"][config["preset"]], config["backbones"]
    baselines = [build_comparator(config, name) for name in preset["comparators"]]
    for name in preset["backbones"]:
        label = backbones[name]["label"]
        baselines += [
            Baseline(
                f"{name}.{readout}",
                "zero_shot",
                f"{label}, {config['readouts'][readout]['label']}",
                backbone=name,
                readout=readout,
            )
            for readout in preset["zero_shot"]
        ]
    for name in preset["backbones"]:
        label = backbones[name]["label"]
        for entry in preset["rerank"]["baselines"]:
            first_stage, reranker = entry["first_stage"], entry["reranker"]
            if is_method(preset, first_stage):
                first_stage_label = method_entry(preset, first_stage).label
            else:
                first_stage_label = config["comparators"][first_stage]["label"]
            baselines.append(
                Baseline(
                    f"{name}.{first_stage}.by.{reranker}",
                    "rerank",
                    f"{first_stage_label}, re-ranked by {method_entry(preset, reranker).label} ({label})",
                    backbone=name,
                    first_stage=first_stage,
                    reranker=reranker,
                )
            )
    return baselines


def build_comparator(config: Config, name: str) -> Baseline:
    """Build the baseline of a comparator."""
    entry = config["comparators"][name]
    model_keys = {key: entry.get(key) for key in ("encoder", "backbone", "readout")}
    return Baseline(
        name, "comparator", entry["label"], entry.get("paper_row", ""), **model_keys, trained_on=entry["trained_on"]
    )
