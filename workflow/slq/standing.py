"""What stands for what of the paper: `reference` of backbones and sets; and as what the answers to a set are scored."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.errors import SlqError

Config = Mapping[str, Any]


def check_scored(key: str, entry: Config) -> None:
    """A retention set says whose scorers read its answers; another set has no answers.

    Raises:
        SlqError: `scored_as` is missing, or of a retrieval set.
    """
    if entry["kind"] != "retention":
        if "scored_as" in entry:
            raise SlqError(f"config: {key}.scored_as is of questions with answers, and {key}.kind {entry['kind']}")
    elif "scored_as" not in entry:
        raise SlqError(
            f"config: {key}.scored_as is missing; it says whose scorers read the answers to a retention set, mmmu, "
            f"realworldqa or ocrbench. {key}.reference does not: it is for a set that stands for the paper's own, and "
            "whose numbers the paper's claims are then judged by"
        )


def check_standing(key: str, preset: Config, config: Config) -> None:
    """One backbone stands for a row of the paper and one set for a column, scored as the paper's is.

    Raises:
        SlqError: two stand for one, or a set has a benchmark's column and another's scorers, or one that is not chosen.
    """
    scorers = preset["evaluation"]["scorers"]
    for place, name in enumerate(preset["retention_sets"]):
        entry = config["sets"][name]
        scored, reference = entry["scored_as"], entry.get("reference")
        if scored not in scorers:
            raise SlqError(
                f"config: {key}.evaluation.scorers.{scored} is missing; {key}.retention_sets[{place}] is '{name}', "
                "which is scored as it"
            )
        if reference in scorers and reference != scored:
            raise SlqError(
                f"config: sets.{name}.scored_as is '{scored}', and its reference '{reference}': what stands for a "
                "benchmark of the paper is scored as it; take reference out if the set is your own"
            )
    sets = [name for kind in ("retrieval", "knowledge", "retention") for name in preset[f"{kind}_sets"]]
    _check_alone(key, preset["backbones"], config["backbones"], "backbones")
    _check_alone(key, sets, config["sets"], "sets")


def _check_alone(key: str, names: Sequence[str], catalogue: Config, kind: str) -> None:
    """No two of a preset have the same `reference`."""
    standing: dict[str, str] = {}
    for name in names:
        reference = catalogue[name].get("reference")
        if reference and standing.setdefault(reference, name) != name:
            raise SlqError(
                f"config: {key} has two {kind} with the reference '{reference}', {standing[reference]} and {name}; "
                f"take {kind}.{name}.reference out unless {name} alone is to stand for it"
            )
