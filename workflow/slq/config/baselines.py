"""The rows of the extended Table 1 that are no runs: comparators, untrained read-outs, re-ranked lists.

A row has no seed. Imported whenever the Snakefile is read, so nothing heavy here.
"""

from dataclasses import dataclass
from typing import Any, Literal

Config = dict[str, Any]
Kind = Literal["comparator", "zero_shot", "rerank"]

METHODS = {"base": "Base", "full_ft": "Full FT", "lora": "LoRA", "slq": "SLQ"}  # as tables print them


@dataclass(frozen=True)
class Row:
    """One system.

    Attributes:
        name: of its folder, `results/<preset>/rows/<name>`.
        reference: the paper's row that it stands for; empty where the paper has none.
        encoder: the dual encoder that it embeds with, a key of `encoders`, or None.
        backbone: the backbone that it embeds with or that re-ranks, a key of `backbones`, or None.
        readout: a key of `readouts`, of a row that embeds with a backbone.
        coarse: what finds the candidates that are re-ranked: a method on the same backbone, or a comparator.
        by: the method whose backbone re-ranks.
        trained_on: in words, what a comparator has learned from; empty where it is the backbone's matter.
    """

    name: str
    kind: Kind
    label: str
    reference: str = ""
    encoder: str | None = None
    backbone: str | None = None
    readout: str | None = None
    coarse: str | None = None
    by: str | None = None
    trained_on: str = ""

    @property
    def embeds(self) -> bool:
        """Finds by its own vectors, and re-ranks nothing."""
        return self.kind != "rerank"


def rows_of(config: Config) -> list[Row]:
    """The rows of the preset that runs, in the table's order."""
    preset, backbones = config["presets"][config["preset"]], config["backbones"]
    rows = [comparator(config, name) for name in preset["comparators"]]
    for name in preset["backbones"]:
        label = backbones[name]["label"]
        rows += [
            Row(
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
        for entry in preset["rerank"]["rows"]:
            coarse, by = entry["coarse"], entry["by"]
            first = METHODS.get(coarse) or config["comparators"][coarse]["label"]
            rows.append(
                Row(
                    f"{name}.{coarse}.by.{by}",
                    "rerank",
                    f"{first}, re-ranked by {METHODS[by]} ({label})",
                    backbone=name,
                    coarse=coarse,
                    by=by,
                )
            )
    return rows


def comparator(config: Config, name: str) -> Row:
    """A comparator's row."""
    entry = config["comparators"][name]
    parts = {key: entry.get(key) for key in ("encoder", "backbone", "readout")}
    return Row(name, "comparator", entry["label"], entry.get("reference", ""), **parts, trained_on=entry["trained_on"])
