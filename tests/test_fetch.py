"""A backbone fetched from a hub: the real client against a server on loopback. pytest tests/test_fetch.py"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub import COMMIT, Hub, serve
from slq.data.snapshots import fetch_snapshot

WORKFLOW = Path(__file__).parents[1] / "workflow"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "modeling_remote.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
}


@pytest.fixture
def endpoint(monkeypatch):
    monkeypatch.setattr(Hub, "files", FILES)
    with serve() as address:
        yield address


def fetch(endpoint, out, repository="org/name"):
    """`slq fetch` in a process of its own: the client reads its endpoint when it is imported."""
    settings = {"backbone": "mine", "hub": {"repository": repository, "revision": "main"}}
    return subprocess.run(
        [sys.executable, "-m", "slq.cli", "fetch", "--settings", json.dumps(settings), "--out", str(out)],
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(out.parent / "hub"), "PYTHONPATH": str(WORKFLOW)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_snapshot_holds_weights_and_no_code(endpoint, tmp_path):
    answer = fetch(endpoint, tmp_path / "out")
    assert answer.returncode == 0, answer.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["source"] == {"repository": "org/name", "revision": "main", "commit": COMMIT}
    wanted = {"config.json", "model.safetensors", "tokenizer.json"}
    assert manifest["files"] == {name: hashlib.sha256(FILES[name]).hexdigest() for name in wanted}
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_file()} == wanted | {"manifest.json"}


def test_another_snapshot_leaves_nothing_of_the_one_before(endpoint, tmp_path, monkeypatch):
    """transformers reads model.safetensors before any shards: left behind, the old weights would win without a word."""
    assert fetch(endpoint, tmp_path / "out").returncode == 0
    shards = {name: body for name, body in FILES.items() if name != "model.safetensors"}
    shards |= {"model-00001-of-00001.safetensors": b"other", "model.safetensors.index.json": b"{}"}
    monkeypatch.setattr(Hub, "files", shards)
    monkeypatch.setattr(Hub, "commit", "b" * 40)
    assert fetch(endpoint, tmp_path / "out").returncode == 0
    assert not (tmp_path / "out" / "model.safetensors").exists()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert {name for name in manifest["files"] if "safetensors" in name} == shards.keys() - FILES.keys()


def test_a_local_snapshot_is_copied_without_code_or_pickles(tmp_path):
    folder, out = tmp_path / "mine", tmp_path / "out"
    folder.mkdir()
    for name, body in FILES.items():
        (folder / name).write_bytes(body)
    out.mkdir()
    (out / "old.safetensors").write_bytes(b"old")
    fetch_snapshot({"backbone": "mine", "local": str(folder)}, out)
    expected = {"config.json", "model.safetensors", "tokenizer.json", "manifest.json"}
    assert {path.name for path in out.iterdir()} == expected


def test_a_repository_without_safetensors_is_refused(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(Hub, "files", {name: body for name, body in FILES.items() if "safetensors" not in name})
    answer = fetch(endpoint, tmp_path / "out")
    assert answer.returncode == 1
    assert "no *.safetensors" in answer.stderr
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("fault", ["unknown repository", "no server"])
def test_a_failed_fetch_is_one_message(endpoint, tmp_path, fault):
    if fault == "no server":
        answer = fetch("http://127.0.0.1:9", tmp_path / "out")
    else:
        answer = fetch(endpoint, tmp_path / "out", repository="org/other")
    assert answer.returncode == 1
    assert answer.stderr.startswith("slq: error: org/") and "not fetched" in answer.stderr
    assert "Traceback" not in answer.stderr
