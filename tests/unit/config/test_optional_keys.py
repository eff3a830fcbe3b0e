"""Optional keys of the schema: without one, a run is planned, or one message names what is missing."""

import copy
from types import SimpleNamespace

import pytest
import yaml

from slq.common.errors import SlqError
from slq.config import cost_settings, job_settings
from slq.config.loading import SCHEMA_FILE, validate_config
from slq.cost.forecast import job_resources
from slq.preflight.preflight import _forecast_cost, check_gpu_hours

CATALOGUES = {
    **{"backbones": "backbone", "encoders": "encoder", "readouts": "readout", "baselines": "baseline"},
    **{"sources": "source", "datasets": "dataset"},
}


def optional_keys(raw, catalogue):
    """Yield the paths of all optional keys of a catalogue's entries, and of the splits in a dataset's size."""
    known = yaml.safe_load(SCHEMA_FILE.read_text())["$defs"]
    for name, entry in raw[catalogue].items():
        yield from (
            (catalogue, name, key) for key in entry.keys() - set(known[CATALOGUES[catalogue]].get("required", []))
        )
        size = entry.get("size", {}) if catalogue == "datasets" else {}
        for key in sorted(size.keys() - set(known["size"]["required"])):
            yield catalogue, name, "size", key
            yield from (
                (catalogue, name, "size", key, split) for split in (size[key] if isinstance(size[key], dict) else ())
            )


def without(raw, path):
    """A copy of the configuration without the key at a path."""
    changed = copy.deepcopy(raw)
    place = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed


def plan(config):
    """Compute all that the Snakefile computes from a configuration when it reads it, above all sizes."""
    asked = cost_settings.forecast_settings(config)
    found = [
        job_resources(asked, one["name"], method, "train") for one in asked["backbones"] for method in asked["methods"]
    ]
    for cut in (
        *(cost_settings.ledger_settings, cost_settings.paper_audit_settings, job_settings.claims_settings),
        *(job_settings.layout, job_settings.compare_settings),
    ):
        cut(config)
    return found


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_every_optional_key_may_be_left_out_or_is_named(raw_config, catalogue):
    for path in sorted(optional_keys(raw_config, catalogue)):
        try:
            config = validate_config(without(raw_config, path))
        except SlqError as error:  # one of several keys that belong together
            assert path[1] in str(error)
            continue
        for preset in config["presets"]:
            plan(config | {"preset": preset})


@pytest.mark.parametrize(("name", "key"), [("coco", None), ("flickr30k", "texts")])
def test_a_set_without_a_size_or_without_its_counts_is_planned_and_not_forecast(raw_config, name, key):
    paper = raw_config | {"preset": "paper"}
    entry = paper["datasets"][name]
    assert None not in plan(validate_config(paper))
    del (entry["size"] if key else entry)[key or "size"]
    assert set(plan(validate_config(paper))) == {None}


def test_the_doctor_says_why_nothing_is_forecast(raw_config):
    paper = raw_config | {"preset": "paper"}
    del paper["datasets"]["coco"]["size"]
    found = check_gpu_hours(SimpleNamespace(submitted=[]), _forecast_cost(validate_config(paper), None), "any")
    assert found.message.startswith(
        "no estimate of GPU hours or of disk space for adapters and checkpoints (config: datasets.coco.size is missing"
    )
