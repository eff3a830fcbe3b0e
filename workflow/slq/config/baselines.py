"""The baselines, which the extended Table 1 shows beside the runs: comparators, read-outs, re-ranked lists.

A baseline has no seed. Imported whenever the Snakefile is read, so nothing heavy here.
"""

from dataclasses import dataclass
from typing import Any, Literal

Config = dict[str, Any]
BaselineKind = Literal["comparator", "zero_shot", "rerank"]

METHODS = {"base": "Base", "full_ft": "Full FT", "lora": "LoRA", "slq": "SLQ"}  # as tables print them


@dataclass(frozen=True)
class Baseline:
    """One system.

    Attributes:
        name: of its folder, `results/<preset>/baselines/<name>`.
        paper_row: the paper's row that it stands for; empty where the paper has none.
        encoder: the dual encoder that it embeds with, a key of `encoders`, or None.
        backbone: the backbone that it embeds with or that re-ranks, a key of `backbones`, or None.
        readout: a key of `readouts`, of a baseline that embeds with a backbone.
        first_stage: what finds the candidates that are re-ranked: a method on the same backbone, or a comparator.
        reranker: the method whose backbone re-ranks.
        trained_on: in words, what a comparator has learned from; empty where it is the backbone's matter.
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
        """Finds by its own vectors, and re-ranks nothing."""
        return self.kind != "rerank"


def list_baselines(config: Config) -> list[Baseline]:
    """The baselines of the preset that runs, in the table's order."""
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
            first_stage_label = METHODS.get(first_stage) or config["comparators"][first_stage]["label"]
            baselines.append(
                Baseline(
                    f"{name}.{first_stage}.by.{reranker}",
                    "rerank",
                    f"{first_stage_label}, re-ranked by {METHODS[reranker]} ({label})",
                    backbone=name,
                    first_stage=first_stage,
                    reranker=reranker,
                )
            )
    return baselines


def build_comparator(config: Config, name: str) -> Baseline:
    """The baseline that a comparator is."""
    entry = config["comparators"][name]
    model_keys = {key: entry.get(key) for key in ("encoder", "backbone", "readout")}
    return Baseline(
        name, "comparator", entry["label"], entry.get("paper_row", ""), **model_keys, trained_on=entry["trained_on"]
    )
