"""A key that occurs twice in a user's YAML file is refused, with both lines."""

import json
import shutil

import pytest
import yaml

from checkout import ROOT, snakemake
from slq.cli import main
from slq.common.errors import SlqError
from slq.config.yaml_files import read_yaml, reject_duplicate_config_keys, reject_duplicate_options

CONFIG = (ROOT / "config.yaml").read_text()


def twice_in_config(text):
    """Text of config.yaml with a second `synthetic` key at its end."""
    return f"{text}synthetic: {{seed: 8}}\n"


OVERLAYS = {
    "an overlay": ("presets:\n  mini:\n    seed_sd: {}\n    methods: [base]\n    methods: [slq]\n", 5, 4, "methods"),
    "a flow mapping": ("presets: {mini: {training: {epochs: 1,\n  batch_size: 4, epochs: 5}}}\n", 2, 1, "epochs"),
    "another spelling": ('presets:\n  mini: {}\n  "mini": {}\n', 3, 2, "mini"),
    "JSON": ('{"seeds": [1],\n\t"seeds": [2]}', 2, 1, "seeds"),
}


def test_a_key_that_stands_twice_in_config_yaml_stops_before_anything_is_planned(pristine, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(pristine, folder)
    (folder / "config.yaml").write_text(twice_in_config(CONFIG))
    lines = twice_in_config(CONFIG).splitlines()
    first, second = (number for number, line in enumerate(lines, start=1) if line.startswith("synthetic:"))
    answer = snakemake(folder, "-n", "--cores", "1")
    assert answer.returncode == 1 and "Traceback" not in answer.stdout
    assert f"config.yaml:{second}: synthetic occurs twice, first in line {first}; " in answer.stdout


@pytest.mark.parametrize("kind", OVERLAYS)
def test_a_key_that_stands_twice_in_a_file_is_named_with_both_lines(tmp_path, kind):
    text, second, first, key = OVERLAYS[kind]
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(SlqError, match=rf"mine.yaml:{second}: \S*{key} occurs twice, first in line {first}; "):
        read_yaml(tmp_path / "mine.yaml")


def test_a_key_that_stands_twice_in_a_file_laid_over_stops_before_anything_is_planned(pristine, tmp_path):
    text, second, first, key = OVERLAYS["JSON"]
    (tmp_path / "mine.yaml").write_text(text)
    answer = snakemake(pristine, "-n", "--cores", "1", "--configfile", str(tmp_path / "mine.yaml"))
    assert answer.returncode == 1 and "Traceback" not in answer.stdout
    assert f"mine.yaml:{second}: {key} occurs twice, first in line {first}; " in answer.stdout


def test_a_key_that_stands_twice_on_the_command_line_stops_before_anything_is_planned(pristine):
    answer = snakemake(pristine, "-n", "--cores", "1", "--config", "seed=1", "seed=2")
    assert answer.returncode == 1 and "--config: seed occurs twice" in answer.stdout
    with pytest.raises(SlqError, match=r"--config datasets:1: a\.label occurs twice"):
        reject_duplicate_config_keys(["seed=1", "datasets={a: {label: one, label: two}}"])
    reject_duplicate_config_keys(["scratch={turn", "preset=mini"])


def test_an_option_that_stands_twice_stops_before_anything_is_planned(pristine):
    """Snakemake uses the last option, so `--config preset=paper --config seed=2` would run the mini preset."""
    answer = snakemake(pristine, "-n", "--cores", "1", "--config", "seed=1", "--config", "cells=present")
    assert answer.returncode == 1 and "--config occurs twice on the command line" in answer.stdout
    assert "Traceback" not in answer.stdout
    with pytest.raises(SlqError, match="--configfile occurs twice on the command line"):
        reject_duplicate_options(["snakemake", "--configfile", "a.yaml", "--configfile=b.yaml"])


def test_options_that_stand_once_are_no_fault():
    words = ["snakemake", "--configfile", "a.yaml", "b.yaml", "--config", "seed=1", "preset=mini", "--cores", "1"]
    reject_duplicate_options(words)
    reject_duplicate_options(["pytest", "--config-like", "-c", "1"])


@pytest.mark.parametrize("command", [["sources"], ["doctor", "--preset", "mini"]])
def test_commands_that_read_the_configuration_refuse_it_likewise(pristine, tmp_path, capsys, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(OVERLAYS["an overlay"][0])
    assert main([*command, "--config", str(pristine / "config.yaml"), "--config", "mine.yaml"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("slq: error: mine.yaml:5: presets.mini.methods occurs twice, first in line 4; ")
    assert message.count("\n") == 1


def test_a_test_that_stands_twice_in_a_claim_is_refused(tmp_path):
    from slq.claims.claim import read_claims
    from slq.results.paper import Paper

    text = (ROOT / "paper_tables/reference/claims.yaml").read_text()
    (tmp_path / "claims.yaml").write_text(text + "claims: []\n")
    with pytest.raises(SlqError, match=r"claims.yaml:\d+: claims occurs twice, first in line \d+"):
        read_claims(tmp_path / "claims.yaml", Paper(ROOT / "paper_tables/reference", tmp_path / "results"))


def test_anchors_merges_and_what_they_overrule_are_read_as_ever(tmp_path):
    assert read_yaml(ROOT / "config.yaml") == yaml.safe_load(CONFIG)
    path = tmp_path / "mine.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\nd: [*a, *a]\n1: one\n'1': text\n")
    assert read_yaml(path) == yaml.safe_load(path.read_text())
    path.write_text(json.dumps({"rate": 1e-5, "smile": "\U0001f600"}, indent="\t"))
    assert read_yaml(path) == {"rate": 1e-5, "smile": "\U0001f600"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: [1\nb: 2", "not valid YAML"),
        ("name: é".encode("latin-1"), "save it as UTF-8"),
        (b"", "expected keys of config.yaml"),
        (b"- a\n- b\n", "expected keys of config.yaml"),
        (b"? [a, b]\n: 1\n", "not valid YAML"),
        (b"a: 2026-02-30\n", "not valid YAML (day is out of range"),
        (b"a: &a [*a]\n", "not valid YAML (Circular reference detected)"),
        (b'a: !!int ""\n', "not valid YAML ("),
        (b"[" * 5000, "not valid YAML ("),
        (b'{"scratch": "\\ud83d"}\n', "contains half a character"),
        (b"a: &a {x: 1}\nb: {<<: *a, <<: *a}\n", "b.<< occurs twice, first in line 2; merge both into one list"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_message(tmp_path, capsys, content, words):
    (tmp_path / "mine.yaml").write_bytes(content)
    assert main(["sources", "--config", str(ROOT / "config.yaml"), "--config", str(tmp_path / "mine.yaml")]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"slq: error: {tmp_path / 'mine.yaml'}:") and words in message
    assert message.count("\n") == 1
