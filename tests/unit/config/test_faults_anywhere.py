"""Every place of config.yaml replaced, removed or doubled: one message that names the key, and never a traceback.

Places are of one kind if they differ only in names of entries and numbers of items, such as `training.epochs` of two
presets. `make test` tries one fault at each kind, a different one from kind to kind. `make test-all` tries every fault
at every kind.
"""

import datetime
import functools
import itertools
import math
import re

import pytest
import yaml

from checkout import ROOT
from slq.common.errors import SlqError
from slq.config import cost_settings, job_settings, loading
from slq.config.loading import load_merged_config, validate_config
from slq.cost.forecast import job_resources

CATALOGUES = ("presets", "backbones", "encoders", "readouts", "baselines", "sources", "datasets")
# Keys of transformers' classes are checked by the jobs that build these models.
OPEN = re.compile(r"\.(model|image_processor|architecture)\.")
WRONG = {
    **{"nothing": None, "no items": [], "a list": ["x"], "no keys": {}, "a mapping": {"x": 1}, "true": True},
    **{"text": "zz zz", "no text": "", "a line end": "abc\n", "false": False, "a count": 7, "zero": 0, "negative": -3},
    **{"a share": 0.5, "a whole float": 5.0, "many": 10**12},
}
NEVER = {  # values that no key may have
    **{"nan": math.nan, "infinite": math.inf, "endless": 10**400, "too large": 1e300, "too small": 1e-300},
    **{"a date": datetime.date(2024, 1, 1), "bytes": b"x", "a set": {1}, "half a pair": "\ud83d", "a control": "a\0b"},
    **{
        "a number as key": {1: 2},
        "true as key": {True: 2},
        "lines as key": {"a\nb": 1},
        "deep": functools.reduce(lambda one, _: [one], range(60), []),
    },
}
KINDS = {bool: "switch", int: "number", float: "number", str: "text", list: "list", dict: "mapping"}


def unshared(content):
    """A copy without shared places, such as the places of one YAML anchor."""
    if isinstance(content, dict):
        return {name: unshared(one) for name, one in content.items()}
    return [unshared(one) for one in content] if isinstance(content, list) else content


RAW = unshared(yaml.safe_load((ROOT / "config.yaml").read_text()))


def places(content, path=()):
    """Yield the paths of all values, mappings and lists included."""
    if path:
        yield path
    for name, one in (
        content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    ):
        yield from places(one, (*path, name))


def kind_of(path):
    """The path as text, without the names of entries and the numbers of items."""
    names = ["*" if number == 1 and path[0] in CATALOGUES else name for number, name in enumerate(path)]
    return "".join("[]" if isinstance(name, int) else f".{name}" for name in names)


PLACES = {kind_of(path): path for path in reversed(list(places(RAW)))}


def held(content, path):
    return functools.reduce(lambda part, name: part[name], path, content)


def with_value(path, value):
    """The configuration with another value at a place."""
    raw = unshared(RAW)
    held(raw, path[:-1])[path[-1]] = value
    return raw


def plan(config):
    """Compute all that the Snakefile computes from a configuration when it reads it."""
    for preset in config["presets"]:
        of_preset = config | {"preset": preset}
        sizes = cost_settings.forecast_settings(of_preset)
        for backbone, method in itertools.product(sizes["backbones"], sizes["methods"]):
            for stage in ("train", "evaluate"):
                estimate = job_resources(sizes, backbone["name"], method, stage)
                assert estimate is None or math.isfinite(estimate.mem_gb + estimate.hours)
        for cut in (cost_settings.ledger_settings, cost_settings.paper_audit_settings, job_settings.layout):
            cut(of_preset)


def refusal(raw, path):
    """Message that refuses a configuration and names the place; empty if it is accepted and can be planned."""
    try:
        config = validate_config(raw)
    except SlqError as error:
        message = str(error)
        assert message.startswith("config: ") and "\n" not in message and len(message) < 600, message
        assert any(name in message for name in [name for name in path if isinstance(name, str)][-2:]), message
        return message
    plan(config)
    return ""


def try_fault(path, fault):
    """Check one fault at one place: it is refused, or its type is valid there."""
    new, old = (WRONG | NEVER)[fault], held(RAW, path)
    message = refusal(with_value(path, new), path)
    same_kind = KINDS.get(type(new)) == KINDS.get(type(old)) and fault not in NEVER
    assert message or same_kind or (OPEN.search(kind_of(path)) and fault in WRONG), f"{fault} is accepted at {path}"


@pytest.fixture(autouse=True)
def schema_parsed_once(monkeypatch):
    """Parse the schema once, because parsing takes most of the time of a check."""
    read, schema = loading.read_yaml, loading.read_yaml(loading.SCHEMA_FILE)
    monkeypatch.setattr(
        loading, "read_yaml", lambda path: unshared(schema) if path == loading.SCHEMA_FILE else read(path)
    )


def test_a_fault_at_any_kind_of_place_is_one_message_or_harmless():
    for place, fault in zip(PLACES, itertools.cycle([*WRONG, *NEVER])):
        try_fault(PLACES[place], fault)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*WRONG, *NEVER])
def test_every_fault_at_every_kind_of_place_is_one_message_or_harmless(fault):
    for path in PLACES.values():
        try_fault(path, fault)


def test_what_is_missing_is_named_or_may_be_missing():
    for path in PLACES.values():
        raw = unshared(RAW)
        del held(raw, path[:-1])[path[-1]]
        refusal(raw, path)


def doubled(path):
    """config.yaml with one key twice in its mapping."""
    root = yaml.compose(yaml.safe_dump(RAW))
    node = root
    for name in path[:-1]:
        pairs = node.value if isinstance(node, yaml.SequenceNode) else {key.value: one for key, one in node.value}
        node = pairs[name]
    node.value.append(next(pair for pair in node.value if pair[0].value == str(path[-1])))
    return yaml.serialize(root)


def expect_doubled_refused(paths, tmp_path):
    for path in paths:
        (tmp_path / "twice.yaml").write_text(doubled(path))
        with pytest.raises(
            SlqError, match=rf"twice.yaml:\d+: .*{re.escape(str(path[-1]))} occurs twice, first in line"
        ):
            load_merged_config([tmp_path / "twice.yaml"])


KEYS = [path for path in PLACES.values() if isinstance(path[-1], str)]


def test_a_key_that_stands_twice_is_named_wherever_it_stands(tmp_path):
    expect_doubled_refused(KEYS[::20], tmp_path)


@pytest.mark.slow
def test_every_kind_of_key_that_stands_twice_is_named(tmp_path):
    expect_doubled_refused(KEYS, tmp_path)


def test_an_overlay_with_a_fault_is_refused_as_the_file_is(tmp_path):
    """The message names the overlay if no key may have its value; after the merge, it names the key."""
    overlay = tmp_path / "mine.yaml"
    for path, (fault, text) in zip(KEYS[::9], itertools.cycle({"null": "", "[1]": "", ".nan": "mine.yaml: "}.items())):
        nested = functools.reduce(lambda inner, name: f"{{{name!r}: {inner}}}", reversed(path), fault)
        if "[" in kind_of(path) or OPEN.search(kind_of(path)):
            continue  # an overlay replaces lists as a whole
        overlay.write_text(nested)
        with pytest.raises(SlqError) as caught:
            load_merged_config([ROOT / "config.yaml", overlay])
        assert text in str(caught.value) and str(path[-1]) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value", ["", "null", "[1", "[x]", "{a: 1}", "7", "0.5", "-3", "true", ".nan", "1.0e+400", "zz zz"]
)
def test_a_value_on_the_command_line_is_refused_as_in_the_file(value):
    """The value is parsed and merged as Snakemake does it."""
    from snakemake.cli import parse_config
    from snakemake.utils import update_config

    for key in RAW:
        given = parse_config([f"{key}={value}"])
        raw = unshared(RAW)
        update_config(raw, given)
        message = refusal(raw, (key,))
        assert message or (key, given[key]) == ("seed", 7) or (key == "scratch" and isinstance(given[key], str)), key
