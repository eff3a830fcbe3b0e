"""Whether what a preset needs and does not make is there: fetched, or in folders that a person fills."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.config import Config, tested_sets
from slq.doctor.finding import FIRST, NOTE, OK, Finding
from slq.sources.listing import fetched

QUERIES = "write the queries, one a line (docs/data.md), or name another file"


@dataclass(frozen=True)
class Supply:
    """`missing`: names of sources that are not whole here; `gb`: disk that they take, unpacked; `lacking`: folders that
    a person has to fill, and files of queries, with what is to be done about each.
    """

    asked: int
    missing: tuple[str, ...]
    gb: float
    lacking: Mapping[str, str]


def supply(config: Config, preset: str) -> Supply:
    """Of a preset."""
    wanted = fetched(config, preset)
    scratch = Path(config["scratch"])
    missing = [name for place, name in wanted if not (scratch / place / "manifest.json").is_file()]
    parts = [part for name in missing for part in config["sources"][name]["parts"]]
    largest = max((part["gb"] for part in parts if "archive" in part), default=0.0)  # beside its files, for a while
    lacking = {part["supplied"]: part["obtain"] for part in parts if "supplied" in part}
    lacking |= dict.fromkeys(_folders(config, config["presets"][preset]), "fill it, or name another")
    lacking = {f"{folder}: no such folder": how for folder, how in lacking.items() if not Path(folder).is_dir()}
    written = [config["sets"][name].get("queries", "") for name in tested_sets(config["presets"][preset])]
    lacking |= {f"{file}: no such file": QUERIES for file in written if file and not Path(file).is_file()}
    return Supply(len(wanted), tuple(missing), sum(part["gb"] for part in parts) + largest, lacking)


def supply_findings(found: Supply, preset: str, offline: bool) -> list[Finding]:
    """What is to be fetched, by whom, and what a person has to bring first."""
    findings = [Finding(FIRST, "data", what, how) for what, how in found.lacking.items()]
    here = f"{found.asked - len(found.missing)} of {found.asked} here"
    if not found.asked:
        return [*findings, Finding(OK, "sources", "nothing is fetched for this preset")]
    if not found.missing:
        return [*findings, Finding(OK, "sources", f"{here}, each whole: offline from now on")]
    text = f"{here}; to come, {found.gb:,.1f} GB of disk: {', '.join(found.missing)}"
    command = f"snakemake --cores all fetch --config preset={preset}"
    if offline:
        advice = f"HF_HUB_OFFLINE says that this host is offline: {command}, on one with internet that sees this folder"
        return [*findings, Finding(FIRST, "sources", text, advice)]
    advice = f"the run fetches them on this host, which needs internet; else, on one that has it: {command}"
    advice += f". Terms to accept: slq sources --preset {preset}"
    return [*findings, Finding(NOTE, "sources", text, advice)]


def _folders(config: Config, preset: Mapping[str, Any]) -> list[str]:
    """Folders of a person's that a set or a model is taken from."""
    names = [preset["train_set"], *tested_sets(preset)]
    models = [config["backbones"][name].get("local") for name in preset["backbones"]]
    models += [config["encoders"][name].get("local") for name in preset["instruments"]]
    return [folder for folder in [*(config["sets"][name].get("supplied") for name in names), *models] if folder]
