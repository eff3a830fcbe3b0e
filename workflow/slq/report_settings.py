"""Slices of the configuration for claims and audit, as `slq.settings` has them for the other stages."""

import json

from slq.config import Config, chosen
from slq.cost_settings import forecast_settings
from slq.settings import compact, layout


def claims_settings(config: Config) -> str:
    """Of the claims: the layout, and which of its sets, by their labels, are drawn here."""
    preset = chosen(config)
    sets = [config["sets"][name] for name in (*preset["retrieval_sets"], *preset["retention_sets"])]
    drawn = [entry["label"] for entry in sets if "drawn" in entry]
    return compact(**json.loads(layout(config)), drawn=drawn)


def paper_audit_settings(config: Config) -> str:
    """Of the audit of the paper's tables: sizes of its models, by the preset that has no other."""
    own = [
        name
        for name, preset in config["presets"].items()
        if all(config["backbones"][one].get("reference") == one for one in preset["backbones"])
    ]
    return forecast_settings(config | {"preset": own[0]}) if own else "{}"
