"""The rows of the extended Table 1 that are no runs: comparators, untrained read-outs, re-ranked lists.

A row has no seed. Imported whenever the Snakefile is read, so nothing heavy here.
"""

from dataclasses import dataclass
from typing import Any, Literal

from slq.errors import SlqError, UnknownMethod

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


def check_comparator(key: str, entry: Config, config: Config) -> None:
    """A comparator embeds with an encoder, or with a backbone that is read out somehow.

    Raises:
        SlqError: it names neither or both, or what is in no catalogue.
    """
    given = [kind for kind in ("encoder", "backbone") if kind in entry]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise SlqError(f"config: {key} must have exactly one of encoder, backbone; found {found}")
    if ("backbone" in entry) != ("readout" in entry):
        raise SlqError(f"config: {key}.readout says how a backbone is read out; it goes together with {key}.backbone")
    _known(f"{key}.{given[0]}", entry[given[0]], config, f"{given[0]}s")
    if "readout" in entry:
        _known(f"{key}.readout", entry["readout"], config, "readouts")


def check_rows(key: str, preset: Config, config: Config) -> None:
    """Everything that a preset's rows are made of exists, and the methods that they stand on are run.

    Raises:
        SlqError: the first fault, by its key.
    """
    for method in preset["methods"]:
        if method not in METHODS:
            raise UnknownMethod(method, "rows.py", f"its name in tables ({key}.methods asks for it)")
    for name in preset["comparators"]:
        _known(f"{key}.comparators", name, config, "comparators")
    for name in preset["zero_shot"]:
        _known(f"{key}.zero_shot", name, config, "readouts")
    for place, entry in enumerate(preset["rerank"]["rows"]):
        where = f"{key}.rerank.rows[{place}]"
        if entry["coarse"] not in METHODS:
            _known(f"{where}.coarse", entry["coarse"], config, "comparators")
        for part in ("coarse", "by"):
            # Base needs no training, and is registered wherever it is asked for.
            if (part == "by" or entry[part] in METHODS) and entry[part] not in ("base", *preset["methods"]):
                raise SlqError(
                    f"config: {where}.{part} is '{entry[part]}', which {key}.methods leaves out; add it there, or take "
                    f"the row out of {key}.rerank.rows"
                )
    for part, needed in (("match", "{text}"), ("choose", "{options}")):
        if needed not in preset["rerank"][part]:
            raise SlqError(f"config: {key}.rerank.{part} must hold {needed}, where the candidates stand")


def check_pilot(key: str, preset: Config, config: Config) -> None:
    """A preset's pilot, if it has one, has its images in one place, and its read-outs exist.

    Raises:
        SlqError: the first fault, by its key.
    """
    pilot = preset.get("pilot")
    if pilot is None:
        return
    if ("set" in pilot) == ("folder" in pilot):
        raise SlqError(f"config: {key} must have exactly one of set, folder: where its images are")
    if "set" in pilot:
        _known(f"{key}.set", pilot["set"], config, "sets")
        kind = config["sets"][pilot["set"]]["kind"]
        if kind != "retrieval":
            raise SlqError(f"config: {key}.set is '{pilot['set']}', a {kind} set; expected a retrieval set")
    for place, name in enumerate(pilot["readouts"]):
        _known(f"{key}.readouts[{place}]", name, config, "readouts")


def _known(key: str, name: str, config: Config, catalogue: str) -> None:
    if name not in config[catalogue]:
        there = ", ".join(config[catalogue]) or "none"
        raise SlqError(f"config: {key} is '{name}', which is not under {catalogue}; there are: {there}")
