"""A model's small files alone: what is fetched, what the lock says of it, and the check of a template's first token."""

import json
import subprocess

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from fetching import check_whole, command, environment, fetch, refused
from loopback import Hub, commit_of, serve
from slq.common.errors import SlqError
from slq.config.job_settings import fetch_settings
from slq.preflight.snapshot_checks import check_first_tokens

SMALL = {"config.json": b"{}", "tokenizer.json": b"{}", "generation_config.json": b"{}", "chat_template.jinja": b"x"}
MODEL = SMALL | {"model.safetensors": b"weights" * 1000, "README.md": b"card", "pytorch_model.bin": b"pickle"}
PART = {"model": "org/name", "revision": "main"}


@pytest.fixture
def hub():
    with serve(Hub(repositories={"models/org/name": [MODEL]})) as site:
        yield site


@pytest.fixture
def bring(hub, tmp_path):
    """Fetches the repository, with more settings."""

    def bring(folder="small", **settings):
        (tmp_path / folder).mkdir(exist_ok=True)
        if not (tmp_path / folder / "sources.lock").exists():
            (tmp_path / "locks").mkdir(exist_ok=True)
            (tmp_path / folder / "sources.lock").symlink_to(tmp_path / "locks")
        return subprocess.run(
            command(tmp_path / folder, [PART], **settings),
            env=environment(tmp_path / folder, HF_ENDPOINT=hub.address),
            capture_output=True,
            text=True,
        )

    return bring


def lock(folder):
    return json.loads((folder / "locks/mine.json").read_text())["model:org/name@main"]


def test_no_byte_of_the_weights_is_fetched(hub, bring, tmp_path):
    answer = bring(small=True)
    assert answer.returncode == 0, answer.stderr
    check_whole(tmp_path / "small", SMALL)
    assert not any("safetensors" in path or "bin" in path for path in hub.transfers())


def test_the_lock_is_the_one_of_a_whole_fetch(hub, bring, tmp_path):
    """Of the weights it has the hash of the hub's index: a whole fetch is verified by it, and gives the same alone."""
    assert bring(small=True).returncode == 0
    before = lock(tmp_path)
    assert before["commit"] == commit_of(MODEL)
    answer = bring("whole", weights=True)
    assert answer.returncode == 0, answer.stderr
    (tmp_path / "locks/mine.json").unlink()
    assert bring("again", weights=True).returncode == 0 and lock(tmp_path) == before


@pytest.mark.parametrize("changed", ["config.json", "model.safetensors"])
def test_small_files_of_another_version_are_refused(hub, bring, tmp_path, changed):
    """Also if only the weights have changed, which are not fetched."""
    assert bring("whole", weights=True).returncode == 0
    hub.pinned["models/org/name"] = commit_of(MODEL)
    hub.repositories["models/org/name"] = [MODEL | {changed: b"another"}]
    refused(bring(small=True), "org/name@main: has changed since it was locked")


# ---- the first token of a read-out's template ------------------------------------------------------------------------

TEMPLATE = "<user> {turn} <answer>"


def tokenizer(folder, first):
    """A tokenizer of words with a first token `<s>`, which it adds `first` times."""
    words = ["<s>", "<unk>", *TEMPLATE.split(), "a", "red"]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if first:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> " * first + "$A", special_tokens=[("<s>", 0)]
        )
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>").save_pretrained(folder)


def test_a_template_that_begins_with_the_first_token_passes(tmp_path):
    tokenizer(tmp_path, 1)
    check_first_tokens(tmp_path, {"e5v": TEMPLATE, "one_word": None})


@pytest.mark.parametrize("first", [0, 2])
def test_a_first_token_that_is_missing_or_there_twice_is_refused(tmp_path, first):
    tokenizer(tmp_path, first)
    check_first_tokens(tmp_path, {"one_word": None})
    with pytest.raises(SlqError, match=r"the template of the read-out e5v is tokenized to \[.*expected .*'<s>' \(0\)"):
        check_first_tokens(tmp_path, {"e5v": TEMPLATE})


def test_fetching_e5v_checks_it(hub, bring, raw_config, tmp_path):
    """The job of the rule, with the settings that the rule gives it."""
    settings = fetch_settings(raw_config, "backbones", "E5-V", lambda part: "")
    assert settings["templates"] == {"e5v": raw_config["readouts"]["e5v"]["template"]}
    assert "templates" not in fetch_settings(raw_config, "backbones", "InternVL3-1B", lambda part: "")
    for first, status in ((0, 1), (1, 0)):
        folder = tmp_path / f"tokenizer{first}"
        tokenizer(folder, first)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        hub.repositories["models/org/name"] = [files | {"config.json": b"{}", "model.safetensors": b"weights"}]
        (tmp_path / "locks/mine.json").unlink(missing_ok=True)
        answer = bring(f"first{first}", weights=True, templates=settings["templates"])
        assert answer.returncode == status, answer.stderr
        if status:
            refused(answer, "the read-out e5v is tokenized to", "(0) once and in front")


def test_a_whole_fetch_is_what_it_was(hub, tmp_path):
    assert fetch(tmp_path, [PART], weights=True, HF_ENDPOINT=hub.address).returncode == 0
    check_whole(tmp_path, SMALL | {"model.safetensors": MODEL["model.safetensors"]})
