"""Repositories of the hub, fetched by the real client from a hub on loopback."""

import json
import resource
import signal

import pytest

from fetching import check_absent, check_whole, fetch, files, refused
from loopback import TOKEN, Answer, Hub, commit_of, serve

MODEL = {
    "config.json": b"{}",
    "model.safetensors": b"weights" * 1000,
    "tokenizer.json": b"{}",
    "modeling_remote.py": b"raise SystemExit",
    "pytorch_model.bin": b"pickle",
    "onnx/config.json": b"{}",
}
SNAPSHOT = {name: MODEL[name] for name in ("config.json", "model.safetensors", "tokenizer.json")}
DATASET = {f"{subject}/validation-00000-of-00001.parquet": subject.encode() * 99 for subject in ("Art", "Music")}
PART = {"model": "org/name", "revision": "main"}
SET = {"dataset": "org/set", "revision": "main", "files": ["*/validation-*.parquet"], "count": 2}


@pytest.fixture
def hub():
    repositories = {"models/org/name": [MODEL], "datasets/org/set": [DATASET | {"Art/test-0.parquet": b"test"}]}
    with serve(Hub(repositories=repositories)) as site:
        yield site


@pytest.fixture
def bring(hub, tmp_path):
    """Function that fetches a part from the hub."""

    def bring(part=PART, **more):
        return fetch(tmp_path, [part], weights="model" in part, HF_ENDPOINT=hub.address, **more)

    return bring


def test_a_snapshot_holds_weights_and_no_code(hub, bring, tmp_path):
    answer = bring()
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT)
    commit = commit_of(MODEL)
    (part,) = json.loads((tmp_path / "out/manifest.json").read_text())["source"]["parts"]
    assert part["from"] == "model:org/name@main" and part["commit"] == commit
    assert json.loads((tmp_path / "sources.lock/mine.json").read_text())["model:org/name@main"]["commit"] == commit


def test_a_dataset_holds_the_files_that_are_asked_for(hub, bring, tmp_path):
    answer = bring(SET)
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, DATASET)


def test_what_is_there_is_not_fetched_again_and_needs_no_network(hub, bring, tmp_path):
    assert bring().returncode == 0
    (tmp_path / "out/manifest.json").unlink()  # as Snakemake does before a job
    hub.log.clear()
    for more in ({"HF_HUB_OFFLINE": "1"}, {}):
        answer = bring(**more)
        assert answer.returncode == 0, answer.stderr
        check_whole(tmp_path, SNAPSHOT)
    assert hub.log == []


def test_offline_what_is_missing_is_an_error(hub, bring, tmp_path):
    refused(bring(HF_HUB_OFFLINE="1"), "org/name@main: not fetched yet", "this command is offline")
    assert bring().returncode == 0
    (tmp_path / "out/model.safetensors").write_bytes(b"cut")
    hub.log.clear()
    refused(bring(HF_HUB_OFFLINE="1"), "model.safetensors is missing or damaged")
    assert hub.log == []


def test_a_file_that_is_damaged_here_is_fetched_again_alone(hub, bring, tmp_path):
    assert bring().returncode == 0
    (tmp_path / "out/model.safetensors").write_bytes(b"cut")
    hub.log.clear()
    answer = bring()
    assert answer.returncode == 0 and "model.safetensors is missing or damaged" in answer.stderr
    check_whole(tmp_path, SNAPSHOT)
    assert not [path for path in hub.transfers() if "tokenizer" in path]


def test_the_lock_holds_the_commit_while_the_branch_moves(hub, bring, tmp_path):
    assert bring().returncode == 0
    moved = MODEL | {"model.safetensors": b"other" * 999}
    hub.repositories["models/org/name"].append(moved)
    for path in (tmp_path / "out").rglob("*.json"):
        path.unlink()
    assert bring().returncode == 0
    check_whole(tmp_path, SNAPSHOT)
    (tmp_path / "sources.lock/mine.json").unlink()
    answer = bring({**PART, "revision": commit_of(moved)})
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT | {"model.safetensors": b"other" * 999})


def test_another_snapshot_leaves_nothing_of_the_one_before(hub, bring, tmp_path):
    """transformers prefers model.safetensors to shards, so old weights left behind would be used silently."""
    assert bring().returncode == 0
    shards = {name: body for name, body in SNAPSHOT.items() if name != "model.safetensors"}
    shards |= {"model-00001-of-00001.safetensors": b"other", "model.safetensors.index.json": b"{}"}
    hub.repositories["models/org/name"].append(shards)
    assert bring({**PART, "revision": commit_of(shards)}).returncode == 0
    check_whole(tmp_path, shards)


def test_a_repository_that_is_not_what_was_locked_stops(hub, bring, tmp_path):
    """The same commit has other files: the history was rewritten, or this is another hub."""
    assert bring().returncode == 0
    lock = tmp_path / "sources.lock/mine.json"
    entries = json.loads(lock.read_text())
    entries["model:org/name@main"]["sha256"] = "0" * 64
    lock.write_text(json.dumps(entries))
    refused(bring(), "model:org/name@main: has changed since it was locked", "sources.lock/mine.json")
    check_absent(tmp_path)
    assert json.loads(lock.read_text()) == entries


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({**PART, "revision": "f" * 40}, ("org/name@ffffffff", "has no such revision")),
        ({**PART, "revision": "v2"}, ("org/name@v2", "has no such revision")),
        ({**PART, "model": "org/other"}, ("org/other@main", "does not exist", "or is private")),
        ({**SET, "count": 3}, ("found 2 files */validation-*.parquet, expected 3",)),
        ({**SET, "files": ["*.csv"]}, ("found no file *.csv",)),
    ],
    ids=["a commit", "a tag", "a repository", "a number of files", "a name of files"],
)
def test_what_the_hub_does_not_have_is_one_message(bring, tmp_path, part, words):
    refused(bring(part), *words)
    check_absent(tmp_path)
    assert not (tmp_path / "sources.lock").exists()


def test_a_local_snapshot_is_copied_without_code_or_pickles(tmp_path):
    folder = tmp_path / "local"
    for name, body in {**MODEL, ".cache/other.json": b"{}", "manifest.json": b"{}"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old.safetensors").write_bytes(b"old")
    answer = fetch(tmp_path, [{"local_dir": str(folder)}], weights=True)
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT)


def test_a_repository_without_safetensors_is_refused(hub, bring, tmp_path):
    hub.repositories["models/org/name"] = [{name: MODEL[name] for name in ("config.json", "pytorch_model.bin")}]
    refused(bring(), "no *.safetensors")
    check_absent(tmp_path)


@pytest.mark.parametrize("token", ["", "hf_" + "w" * 34])
def test_a_gated_repository_says_where_to_ask(hub, bring, tmp_path, token):
    hub.gated.add("models/org/name")
    answer = bring(**({"HF_TOKEN": token} if token else {}))
    refused(answer, "org/name@main: not fetched: it is gated; accept its terms at", "hf auth login")
    assert not token or token not in answer.stdout + answer.stderr
    check_absent(tmp_path)


def test_a_token_of_the_environment_opens_it_and_is_written_nowhere(hub, bring, tmp_path):
    hub.gated.add("models/org/name")
    answer = bring(HF_TOKEN=TOKEN)
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (TOKEN, "secret-signature"):
        assert secret not in answer.stdout + answer.stderr and secret.encode() not in written


def test_a_hub_that_is_busy_is_asked_again(hub, bring, tmp_path):
    hub.refusals = [Answer(429, {"Retry-After": "1"}), Answer(503)]
    answer = bring()
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT)


def test_a_hub_that_stays_broken_is_one_message(hub, bring, tmp_path):
    hub.refusals = [Answer(500)] * 99
    refused(bring(), "org/name@main: not fetched: the hub answers 500")
    check_absent(tmp_path)


def test_no_hub_is_one_message(tmp_path):
    answer = fetch(tmp_path, [PART], HF_ENDPOINT="http://127.0.0.1:9")
    refused(answer, "org/name@main: not fetched: the hub cannot be reached")


def test_a_transfer_that_is_cut_goes_on(hub, bring, tmp_path):
    hub.cuts = [0.1, 0.5, 0.99]
    answer = bring()
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT)


KILLED = """
import os, signal, sys, threading
import huggingface_hub.file_download as client
from slq.jobs import main

note = client.write_download_metadata
one = threading.Lock()  # files come side by side, and no other note may be half-written

def note_and_die(*arguments, **named):
    with one:
        note(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

client.write_download_metadata = note_and_die
sys.exit(main(sys.argv[1:]))
"""


def test_killed_after_a_file_it_fetches_the_others(hub, tmp_path):
    answer = fetch(tmp_path, [PART], code=KILLED, HF_ENDPOINT=hub.address)
    assert answer.returncode == -signal.SIGKILL
    check_absent(tmp_path)
    there = [path.name for path in (tmp_path / "out").glob(".cache/huggingface/download/*.metadata")]
    hub.log.clear()
    answer = fetch(tmp_path, [PART], HF_ENDPOINT=hub.address)
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path, SNAPSHOT)
    fetched = " ".join(hub.transfers()).replace("/lfs/", "model.safetensors")
    assert there and not [name for name in there if name.removesuffix(".metadata") in fetched]
    assert not list(tmp_path.rglob("*.incomplete"))


def test_a_flipped_byte_is_found_and_fetched_again(hub, bring, tmp_path):
    """The client checks only sizes."""
    hub.damage = True
    refused(bring(), "hash differs from the hub's index: config.json, model.safetensors, tokenizer.json; removed")
    check_absent(tmp_path)
    assert files(tmp_path) == {}
    hub.damage = False
    assert bring().returncode == 0
    check_whole(tmp_path, SNAPSHOT)


def test_a_full_disk_is_one_message(hub, tmp_path):
    resource_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, resource_limit[1]))
    try:
        answer = fetch(tmp_path, [PART], HF_ENDPOINT=hub.address)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, resource_limit)
    refused(answer, "org/name@", "cannot be written: File too large")
    check_absent(tmp_path)
    assert "model.safetensors" not in files(tmp_path)
