"""`slq fetch --small` on the paper preset of config.yaml, against a hub on loopback that has the real files."""

import json
import subprocess
import sys

import pytest
import yaml

from checkout import ROOT
from doc_commands import masked, read_blocks, same_output
from fetching import environment
from loopback import Hub, serve

MODELS = ("InternVL3-1B", "InternVL3-8B", "Qwen3-VL-2B", "Qwen3-VL-4B", "VLM2Vec", "CLIP-ViT-B-32")


@pytest.fixture
def hub(small, paper):
    """Every model at the commit of config.yaml, with weights that nobody must ask for."""
    with serve(Hub()) as site:
        for name in MODELS:
            (part,) = paper["sources"][name]["parts"]
            repository = f"models/{part['model']}"
            files = {path.name: path.read_bytes() for path in small(name).iterdir() if path.suffix != ".safetensors"}
            site.repositories[repository] = [files | {"model.safetensors": b"weights"}]
            site.pinned[repository] = part["revision"]
        yield site


@pytest.fixture
def fetch_small(hub, paper, tmp_path):
    """Calls the command for the preset without E5-V, whose files are not in the archive, and some backbones of it."""

    def call(backbones, baselines=("CLIP-ViT-B-32", "VLM2Vec-7B", "one_word", "zero_queries"), **more):
        preset = {"backbones": list(backbones), "baselines": list(baselines)}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"presets": {"paper": preset}}))
        options = ["--config", str(ROOT / "config.yaml"), "--config", "mine.yaml", "--preset", "paper"]
        answer = subprocess.run(
            [sys.executable, "-m", "slq.cli", "fetch", "--small", *options],
            cwd=tmp_path,
            env=environment(tmp_path, HF_ENDPOINT=hub.address, **more),
            capture_output=True,
            text=True,
        )
        findings, mark, name = {}, "", ""
        for line in filter(None, answer.stdout.splitlines()):
            mark, name, text = (line[:4], *line[5:].split(" ", 1)) if line[0] == "[" else (mark, name, line)
            findings[mark, name] = " ".join([findings.get((mark, name), ""), text.strip()]).strip()
        return answer, findings

    return call


def test_every_model_of_the_paper_preset_passes(hub, fetch_small, paper, tmp_path):
    """Twice, the second time without the network, and no byte of the weights."""
    backbones = paper["presets"]["paper"]["backbones"]
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        answer, findings = fetch_small(backbones, **more)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert findings.keys() == {("[ok]", name) for name in MODELS}
        assert not any("safetensors" in path or "/lfs/" in path for path in hub.transfers())
        hub.log.clear()
    assert "16 sizes as in config.yaml; 938.2 M weights, 1.9 GB" in findings["[ok]", "InternVL3-1B"]
    assert "lora 4,399,104" in findings["[ok]", "InternVL3-1B"]
    assert (
        "300 of 640 x 480" in findings["[ok]", "Qwen3-VL-2B"] and "default samples" in findings["[ok]", "Qwen3-VL-2B"]
    )
    assert "read-outs vlm2vec" in findings["[ok]", "VLM2Vec"]
    page = read_blocks("docs/first-run.md", (ROOT / "docs/first-run.md").read_text())
    (shown,) = [
        lines
        for block in page
        for typed, lines in block.steps()
        if typed == "slq fetch --small --preset paper" and lines
    ]
    assert same_output(*(masked(lines, tmp_path) for lines in (shown, answer.stdout.splitlines())))
    lock = json.loads((tmp_path / "sources.lock/InternVL3-1B.json").read_text())
    (entry,) = lock.values()
    assert entry["commit"] == paper["sources"]["InternVL3-1B"]["parts"][0]["revision"]


def without_first_token(files):
    """A tokenizer that no longer adds `<s>`."""
    state = json.loads(files["tokenizer.json"])
    state["post_processor"] = None
    return {"tokenizer.json": json.dumps(state).encode()}


def changed(file, *keys, **values):
    """Changes values in a mapping of a JSON file."""

    def change(files):
        content = json.loads(files[file])
        place = content
        for key in keys:
            place = place[key]
        place |= values
        return {file: json.dumps(content).encode()}

    return change


FAULTS = {
    "another size": (
        changed("config.json", "text_config", hidden_size=1024),
        "config.json: text_config.hidden_size is 1024, and backbones.InternVL3-1B.architecture has 896",
    ),
    "fewer layers": (
        changed("config.json", "text_config", num_hidden_layers=20),
        "text_config.num_hidden_layers is 20",
    ),
    "another end": (
        changed("generation_config.json", eos_token_id=7),
        "eos_token_id is 7, and the tokenizer's",
    ),
    "no template": (lambda files: {"chat_template.jinja": b"{{ 'x' }}"}, "the chat template renders"),
    "larger images": (changed("config.json", image_seq_length=64), "image_seq_length is 64"),
    "damaged": (lambda files: {"tokenizer.json": b"{"}, "transformers: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_before_the_weights_are_fetched(hub, fetch_small, fault):
    change, message = FAULTS[fault]
    files = hub.repositories["models/OpenGVLab/InternVL3-1B-hf"][0]
    files |= change(files)
    answer, findings = fetch_small(["InternVL3-1B"], ["CLIP-ViT-B-32"])
    assert answer.returncode == 1 and "faults in the small files of models" in answer.stderr
    assert message in findings["[!!]", "InternVL3-1B"], findings
    assert "Traceback" not in answer.stderr and ("[ok]", "CLIP-ViT-B-32") in findings


def test_a_lost_first_token_and_an_absent_model_are_found(hub, fetch_small):
    files = hub.repositories["models/TIGER-Lab/VLM2Vec-LLaVa-Next"][0]
    files |= without_first_token(files)
    answer, findings = fetch_small(["InternVL3-1B"], ["VLM2Vec-7B", "E5-V-7B"])
    assert answer.returncode == 1
    assert "the template of the read-out vlm2vec is tokenized to" in findings["[!!]", "VLM2Vec"]
    assert "does not exist or is private" in findings["[!!]", "E5-V"] and ("[ok]", "InternVL3-1B") in findings
