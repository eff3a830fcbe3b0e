"""Re-ranking: a backbone of the preset re-ranks the top candidates of a first stage (docs/rerank.md)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slq.baselines.registry import BaselineKind, Config, Evaluation, entry_schema, find_kind
from slq.common.errors import SlqError


class Rerank(BaselineKind):
    """The first stage's top candidates, re-ranked by a backbone that is prompted about them."""

    schema = entry_schema(
        "A re-ranked list on each backbone.",
        {},
        first_stage={
            "$ref": "#/$defs/name",
            "if": {"not": {"$ref": "#/$defs/method"}},
            "then": {"keyOf": "baselines"},
            "description": "First stage that finds candidates: a method, or a comparator (a key of `baselines`).",
        },
        reranker={
            "$ref": "#/$defs/method",
            "description": "Method whose backbone re-ranks; the same as base if the method does not change it.",
        },
    )
    on_each_backbone = True
    table_group = "Re-ranked"

    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return the label and the names of first stage, re-ranker and backbone, and a comparator's training data.

        Raises:
            SlqError: a method is not in the preset, or the first stage is a baseline other than a comparator.
        """
        from slq.config.runs import is_method, method_entry
        from slq.methods.registry import BASE

        preset, key = config["presets"][config["preset"]], f"presets.{config['preset']}"
        for part in ("first_stage", "reranker"):
            # `base` needs no training, and is registered wherever it is needed.
            if is_method(preset, entry[part]) and entry[part] not in (BASE, *preset["methods"]):
                raise SlqError(
                    f"config: baselines.{entry['name']}.{part} is '{entry[part]}', which is not in {key}.methods; add "
                    f"it there, or remove {entry['name']} from {key}.baselines"
                )
        comparator = self._find_comparator(config, entry)
        first_label = comparator["label"] if comparator else method_entry(preset, entry["first_stage"]).label
        reranker, backbone = method_entry(preset, entry["reranker"]), config["backbones"][entry["backbone"]]
        label = f"{first_label}, re-ranked by {reranker.label} ({backbone['label']})"
        described = {"label": label} | {name: entry[name] for name in ("backbone", "first_stage", "reranker")}
        return described | ({"trained_on": comparator["trained_on"]} if comparator else {})

    def inputs(self, config: Config, entry: Config) -> dict[str, tuple[str, str]]:
        """Return first stage, re-ranker and backbone."""
        first_stage = ("methods", entry["first_stage"])
        if comparator := self._find_comparator(config, entry):
            first_stage = find_kind(comparator["kind"]).inputs(config, comparator)["model"]
        others = {"reranker": ("methods", entry["reranker"]), "backbone": ("backbones", entry["backbone"])}
        return {"first_stage": first_stage} | others

    def settings(self, config: Config, entry: Config) -> Config:
        """Return the settings of the first stage, of the backbone, and of the prompts for re-ranking."""
        from slq.config.job_settings import backbone_loading_settings

        preset, first_stage = config["presets"][config["preset"]], {"method": entry["first_stage"]}
        if comparator := self._find_comparator(config, entry):
            first_stage = {"model": find_kind(comparator["kind"]).settings(config, comparator)["model"]}
        return {
            **{key: entry[key] for key in ("backbone", "reranker")},
            **backbone_loading_settings(config, entry["backbone"]),
            "first_stage": first_stage,
            "prompt": preset["prompt"],
            "embed_batch": preset["evaluation"]["batch_size"],
            **preset["rerank"],
        }

    def _find_comparator(self, config: Config, entry: Config) -> Config | None:
        """Return the entry of the comparator that is the first stage, or None if a method is the first stage.

        Raises:
            SlqError: the first stage is a baseline other than a comparator.
        """
        from slq.config.runs import is_method

        name = entry["first_stage"]
        if is_method(config["presets"][config["preset"]], name):
            return None
        found: Config | None = config["baselines"].get(name)
        if found is None or find_kind(found["kind"]).on_each_backbone:
            raise SlqError(
                f"config: baselines.{entry['name']}.first_stage is '{name}'; expected a method of the preset "
                f"{config['preset']}, or a comparator"
            )
        return found

    def evaluate(self, settings: Config, inputs: Mapping[str, Path], data: Path, out: Path, events: Any) -> Evaluation:
        """Rank by re-ranked candidates, which are written to `retrieval/<dataset>.reranked.jsonl`."""
        from slq.baselines.rerank import rank_by_reranking

        return rank_by_reranking(settings, inputs, data, out, events)
