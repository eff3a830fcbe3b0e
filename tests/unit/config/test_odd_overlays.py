"""Overlays and locks with random faults (hypothesis, tests/odd.py): a correct result, or one message."""

import json

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from checkout import ROOT
from odd import FEW_AND_MANY, TEXTS, damaged, odd_json, outcome, run, spoiled
from slq.config.loading import load_merged_config
from slq.config.yaml_files import read_yaml
from slq.sources.fetch import _PartFetch

OVERLAY = {
    "scratch": "mine",
    "seeds": [1, 2],
    "presets": {"lab": {"extends": "mini", "methods": ["base", "slq"], "training": {"epochs": 1}}},
    "datasets": {"quiz": {"label": "Q", "kind": "retention", "scored_as": "mmmu", "local_dir": "quiz"}},
}
TAGS = [
    "int",
    "float",
    "bool",
    "null",
    "timestamp",
    "binary",
    "omap",
    "pairs",
    "set",
    "str",
    "seq",
    "map",
    "value",
    "merge",
]


@FEW_AND_MANY
def test_yaml(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("yaml") / "mine.yaml"
    whole = yaml.safe_dump(OVERLAY).encode() + b"a: &a {x: 1, y: 2.5}\nb: {<<: *a, 'z': 2026-01-01}\n"
    tagged = st.tuples(st.sampled_from(TAGS), TEXTS).map(lambda one: f"a: !!{one[0]} {json.dumps(one[1])}\n".encode())

    @given(st.one_of(damaged(whole), tagged, damaged(json.dumps(OVERLAY).encode())))
    @example(b"a: &a [*a]")
    @example(b'a: !!int ""')
    @example(b"a: !!timestamp x")
    @example(b"[" * 9999)
    def check(data):
        path.write_bytes(data)
        outcome(read_yaml, path)

    run(check, times)


@FEW_AND_MANY
def test_overlays(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("overlay") / "mine.yaml"

    @given(spoiled(OVERLAY))
    def check(content):
        path.write_text(json.dumps(content))
        outcome(load_merged_config, [ROOT / "config.yaml", path])

    run(check, times)


@FEW_AND_MANY
def test_locks(tmp_path_factory, times):
    folder = tmp_path_factory.mktemp("locks")
    part = {"dataset": "a/b", "revision": "main"}
    lock = {"dataset:a/b@main": {"commit": "c" * 40, "sha256": "x"}, "http://a.org/b.zip": {"bytes": 5, "sha256": "x"}}

    @given(odd_json(lock))
    @example(b"[]")
    @example(b'{"dataset:a/b@main": []}')
    def check(data):
        (folder / "mine.json").write_bytes(data)
        entry = outcome(lambda: _PartFetch(part, folder, folder / "mine.json").locked_entry)
        assert entry is None or isinstance(entry.get("commit", ""), str)

    run(check, times)
