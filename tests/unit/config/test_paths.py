"""Paths of the configuration: expanded or refused when the file is read, whichever key holds them."""

import os

import pytest
import yaml

from slq.common.errors import SlqError
from slq.config.loading import SCHEMA_FILE, validate_config
from slq.config.values import PATH_KEYS, expand_path


@pytest.fixture(autouse=True)
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("SCRATCHDIR", "/big disk/anna's")
    monkeypatch.delenv("UNSET", raising=False)
    monkeypatch.setenv("EMPTY", "")


def with_paths(raw, path):
    """The configuration with one path at every key that holds one."""
    raw["scratch"] = path
    raw["sources"]["flickr30k"]["parts"][0]["local_dir"] = path
    raw["backbones"]["mine"] = {"label": "mine", "family": "internvl", "local_dir": path}
    raw["encoders"]["mine"] = {"local_dir": path}
    raw["datasets"]["folder"] = {"label": "a/b", "kind": "retrieval", "local_dir": path}
    raw["datasets"]["queries"] = {"label": "~x", "kind": "retrieval", "queries": path, "images_of": "coco"}
    raw["datasets"]["coco"]["splits"]["train"] |= {"exclude_ids": ["coco_karpathy_test", path]}
    raw["datasets"]["coco"]["splits"]["val"] |= {"include_ids": [path]}
    pilot = raw["presets"]["mini"]["pilot"]
    del pilot["dataset"]
    pilot["folder"] = path
    return raw


def paths_of(config):
    splits = config["datasets"]["coco"]["splits"]
    return {
        config["scratch"],
        config["sources"]["flickr30k"]["parts"][0]["local_dir"],
        config["backbones"]["mine"]["local_dir"],
        config["encoders"]["mine"]["local_dir"],
        config["datasets"]["folder"]["local_dir"],
        config["datasets"]["queries"]["queries"],
        splits["train"]["exclude_ids"][1],
        splits["val"]["include_ids"][0],
        config["presets"]["mini"]["pilot"]["folder"],
    }


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("~/slq", "/home/anna/slq"),
        ("~", "/home/anna"),
        ("$SCRATCHDIR/slq", "/big disk/anna's/slq"),
        ("${SCRATCHDIR}2", "/big disk/anna's2"),
        ("./a//b/", "a/b"),
        *((same, same) for same in ("anna's", "a&b", "a(1)", "two words", "a~b", "50%", "#1", "a,b;c", "/über/café")),
    ],
)
def test_every_path_is_expanded_and_nothing_else_is(raw_config, written, expanded):
    config = validate_config(with_paths(raw_config, written))
    assert paths_of(config) == {expanded}
    assert config["datasets"]["queries"]["label"] == "~x" and config["datasets"]["folder"]["label"] == "a/b"
    assert config["datasets"]["coco"]["splits"]["train"]["exclude_ids"][0] == "coco_karpathy_test"
    assert paths_of(validate_config(config)) == {expanded}, "a second time, as a job of a cluster reads it"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("$UNSET/slq", "the environment variable UNSET is not set or is empty"),
        ("${EMPTY}/slq", "the environment variable EMPTY is not set or is empty"),
        ("~nobody-at-all/slq", "the home folder of ~nobody-at-all is unknown"),
        ("a$", "jobs cannot use '$' in a path"),
        ("${A:-b}", "jobs cannot use '$' in a path"),
        ("{dataset}", "jobs cannot use '{' in a path"),
        ("<scratch>", "jobs cannot use '<' in a path"),
        ("s3://bucket/slq", "jobs cannot use '://' in a path"),
        ("a\nb", "jobs cannot use '\\n' in a path"),
        ("-x", "jobs cannot use '-' at the start of a path"),
    ],
)
def test_a_path_that_cannot_work_is_refused_by_its_key(raw_config, written, words):
    with pytest.raises(SlqError) as caught:
        validate_config(with_paths(raw_config, written))
    assert str(caught.value).startswith("config: scratch is ") and words in str(caught.value)
    assert "\n" not in str(caught.value)
    raw_config["scratch"] = "scratch"
    for preset in raw_config["presets"].values():  # presets that extend mini have its pilot
        preset.pop("pilot", None)
    with pytest.raises(SlqError, match=r"config: backbones\.mine\.local_dir is "):
        validate_config(raw_config)


def test_a_home_that_is_not_known_is_said(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # no HOME, and a user id without a name
    with pytest.raises(SlqError, match="the home folder of ~ is unknown: set HOME"):
        expand_path("~/slq", "scratch")


def test_a_name_that_the_locale_cannot_write_is_refused(monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda path: path.encode("latin-1"))
    with pytest.raises(SlqError, match=r"lacks some of its characters: set LC_ALL=C\.UTF-8"):
        expand_path("/data/\u65e5\u672c", "scratch")


def test_the_keys_of_paths_are_those_that_the_schema_calls_paths():
    def named(schema):
        if isinstance(schema, dict):
            for name, entry in schema.items():
                if isinstance(entry, dict) and entry.get("$ref") == "#/$defs/path":
                    yield name
                yield from named(entry)

    assert {*named(yaml.safe_load(SCHEMA_FILE.read_text())), "include_ids", "exclude_ids"} == {*PATH_KEYS}
