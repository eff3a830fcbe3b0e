"""Exports compared with evaluation: the same vectors from sentence-transformers and PEFT, without the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize
from transformers import AutoModelForImageTextToText, AutoTokenizer

import slq.models.families
from exported import BACKBONES, FIT, HUB, INPUTS, METHODS, THIRD, Lab
from oracles import RED, SHORT
from slq.cli import main
from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json
from slq.export.adapters import BaseModelInfo, ExportFolder, add_query_tokens
from slq.export.folder import stage_folder, write_code
from slq.models.prefix import collate, tokenize_message
from stored import Runs

RUNS = [(backbone, method) for backbone in BACKBONES for method in METHODS]
RUNS += [("mini-llava", "slq"), ("mini-llava", "lora")]
OTHERS = ("tiny-llava-next", "tiny-gemma3", "tiny-qwen2_5_vl", "tiny-smolvlm", "tiny-glm4v")
RUNS += [(name, "slq") for name in OTHERS] + [("tiny-gemma3", "lora"), ("tiny-gemma3", "full_ft")]
NEAR = 1e-4


@pytest.fixture(scope="module")
def third_family():
    """Adapters of further families, found beside the package's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slq.models.families, "__path__", [*slq.models.families.__path__, str(THIRD), str(FIT)])
        yield
    for path in (*THIRD.glob("*.py"), *FIT.glob("*.py")):
        sys.modules.pop(f"slq.models.families.{path.stem}", None)


@pytest.fixture(scope="module")
def lab(third_family, tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def hub_lab(tmp_path_factory):
    """Lab whose backbones came from the hub, with spare rows in their embeddings."""
    return Lab(tmp_path_factory.mktemp("hub"), HUB, spare=64)


def nudged(snapshot, out):
    """Copy of a snapshot in which one tensor differs, as in another revision."""
    shutil.copytree(snapshot, out)
    tensors = load_file(out / "model.safetensors")
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1e-3}, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.fixture(scope="module")
def elsewhere(lab, hub_lab, tmp_path_factory):
    """Vectors by case, and errors, of the exports in a Python without the package."""
    root = tmp_path_factory.mktemp("elsewhere")
    cases = {f"{one}-{method}": (lab.export(one, method), {}) for one, method in RUNS}
    exported, snapshot = hub_lab.export("mini-qwen3vl", "slq"), hub_lab.snapshot("mini-qwen3vl")
    cases["given"] = (exported, {"base": str(snapshot)})
    cases["other revision"] = (exported, {"base": str(nudged(snapshot, root / "nudged"))})
    cases["other size"] = (exported, {"base": str(lab.snapshot("mini-internvl"))})
    cases["not fetched"] = (exported, {})
    whole = hub_lab.export("mini-qwen3vl", "full_ft")
    cases["whole"] = (whole, {})
    cases["whole, base given"] = (whole, {"base": str(snapshot)})
    odd = shutil.copytree(lab.export("mini-internvl", "lora"), root / "odd")
    tensors = load_file(odd / "adapter_model.safetensors")
    save_file({name.replace("layers.0", "layers.7"): value for name, value in tensors.items()},
              odd / "adapter_model.safetensors")  # fmt: skip
    cases["odd tensors"] = (odd, {})
    for method in ("slq", "base"):
        cases[f"long {method}"] = (lab.export("mini-internvl", method), {}, " ".join(["a red ring"] * 100))
    return answers(root, cases)


def answers(root, cases):
    """Vectors and errors of `use_without_us.py`, in a fresh environment with our dependencies but not our package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root / "venv")], check=True)
    (packages,) = (root / "venv/lib").glob("python*/site-packages")
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    images = [item if isinstance(item, str) else str(root / f"{number}.png") for number, item in enumerate(INPUTS)]
    for path, item in zip(images, INPUTS, strict=True):
        if not isinstance(item, str):
            item.save(path)
    asked = {
        name: {"folder": str(folder), "options": options, "texts": texts}
        for name, (folder, options, *texts) in cases.items()
    }
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    found = subprocess.run(
        [str(root / "venv/bin/python"), "-I", str(Path(__file__).parents[2].joinpath("use_without_us.py"))],
        input=json.dumps({"cases": asked, "inputs": images, "out": str(root)}),
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **quiet},
        text=True,
        capture_output=True,
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout.splitlines()[-1])
    assert told["slq"] is False
    return {path.stem: np.load(path) for path in root.glob("*.npy")}, told["errors"]


@pytest.mark.parametrize(("backbone", "method"), RUNS)
def test_sentence_transformers_makes_the_vectors_of_evaluation(lab, elsewhere, backbone, method):
    """Texts and images are embedded separately and batched together."""
    vectors, errors = elsewhere
    ours = lab.vectors(backbone, method).numpy()
    assert f"{backbone}-{method}" not in errors
    for theirs in vectors[f"{backbone}-{method}"]:
        assert np.abs(ours - theirs).max() < NEAR


@pytest.mark.parametrize("name", BACKBONES)
def test_an_image_and_a_text_make_one_vector_together(lab, elsewhere, name):
    backbone, retriever = lab.load(name, "slq")
    with torch.inference_mode():
        ours = retriever.embed([tokenize_message(backbone, (backbone.family.process(RED), SHORT))]).numpy()
    assert np.abs(elsewhere[0][f"{name}-slq together"] - ours).max() < NEAR


def test_methods_make_different_vectors(lab):
    """The comparison above can fail: the learned weights change the vectors."""
    for backbone in BACKBONES:
        base, *others = (lab.vectors(backbone, method) for method in METHODS)
        assert all((base - other).abs().max() > 0.01 for other in others)


def test_a_copy_of_the_base_is_taken_and_another_refused(hub_lab, elsewhere):
    vectors, errors = elsewhere
    ours = hub_lab.vectors("mini-qwen3vl", "slq").numpy()
    assert np.abs(vectors["given"] - ours).max() < NEAR
    assert re.search(
        r"model.safetensors: sha256 \w+, expected sha256 \w+: use lab/backbone at", errors["other revision"]
    )
    assert "expected sha256" in errors["other size"]
    assert "the base model lab/backbone at revision c0ffee" in errors["not fetched"]
    assert re.search(r"missing or unexpected tensors .*layers\.0\.", errors["odd tensors"])


def test_a_whole_model_is_the_exports_own_though_its_base_is_on_the_hub(hub_lab, elsewhere):
    """The export uses neither the untouched base from the hub nor a copy of it given by name."""
    vectors, errors = elsewhere
    assert np.abs(vectors["whole"] - hub_lab.vectors("mini-qwen3vl", "full_ft").numpy()).max() < NEAR
    assert "expected sha256" in errors["whole, base given"] and "the base of this export" in errors["whole, base given"]
    card = (hub_lab.export("mini-qwen3vl", "full_ft") / "README.md").read_text()
    assert "This folder contains the whole model; nothing else is downloaded." in card
    assert "is downloaded from the hub" not in card
    assert "base_model: lab/backbone" in card


@pytest.mark.parametrize(("method", "needed"), [("slq", 313), ("base", 305)])
def test_a_text_beyond_the_bases_positions_is_an_error(elsewhere, method, needed):
    """The card states this limit, to which the queries count too."""
    assert re.search(
        rf"ValueError: an input needs {needed} positions, and the language model has 256 .*: shorten it; it begins "
        "'user a red ring a",
        elsewhere[1][f"long {method}"],
    )


def card_lines(folder, snapshot=None):
    """Run the Python that an export's card gives for PEFT only, and return its names; a hub base is the snapshot's."""
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[1]
    scope: dict = {}
    code = code.replace('"lab/backbone"', repr(str(snapshot)))
    exec(code.replace("THIS FOLDER", str(folder)), scope)
    return scope


@pytest.mark.parametrize("method", ["slq", "lora"])
@pytest.mark.parametrize("name", [*BACKBONES, "tiny-gemma3"])
def test_peft_alone_makes_them_too_as_the_card_says(lab, name, method):
    scope = card_lines(lab.export(name, method))
    backbone, retriever = lab.load(name, method)
    with torch.inference_mode():
        assert (scope["vector"] - retriever.embed([tokenize_message(backbone, ("a black cat",))])).abs().max() < NEAR
    told, tokenizer = read_json(lab.export(name, method) / "retriever.json"), scope["tokenizer"]
    queries = scope["retriever"].peft_config["default"].to_dict().get("token_indices") or []
    parts = [(item,) if isinstance(item, str) else (backbone.family.process(item),) for item in INPUTS]
    encoded = [tokenize_message(backbone, part) for part in parts]
    extended = [type(item)([*item.ids, *queries], item.images) for item in encoded]
    assert tokenizer.convert_ids_to_tokens(queries) == [f"<|query_{n}|>" for n in range(len(queries))]
    for batch in ([item] for item in extended), [extended]:
        with torch.inference_mode():
            states = [scope["retriever"](**collate(backbone, items)).last_hidden_state for items in batch]
        vectors = torch.cat([normalize(state[:, -told["read_out"] :].mean(1), dim=-1) for state in states])
        assert (vectors - lab.vectors(name, method)).abs().max() < NEAR


@pytest.mark.parametrize(("place", "name"), [("lab", BACKBONES[0]), ("lab", BACKBONES[1]), ("hub_lab", BACKBONES[1])])
def test_the_base_under_queries_generates_what_it_did(request, place, name):
    """Compared with the untouched model, tokens are the same and logits agree, after pictures too."""
    lab = request.getfixturevalue(place)
    untouched, _ = lab.load(name, "base")
    model = card_lines(lab.export(name, "slq"), lab.snapshot(name))["model"].eval()
    assert type(model) is type(untouched.model)
    for parts in [("what is it",)], [(untouched.family.process(image), "what is it") for image in INPUTS[2:4]]:
        inputs = collate(untouched, [tokenize_message(untouched, part) for part in parts])
        del inputs["position_ids"]
        how = {"max_new_tokens": 6, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
        before, after = (one.generate(**inputs, **how) for one in (untouched.model, model))
        assert torch.equal(before.sequences, after.sequences)
        # Equal to rounding: a matrix at another address is multiplied in another order.
        assert all((one - other).abs().max() < 1e-6 for one, other in zip(before.logits, after.logits, strict=True))


def test_queries_take_spare_rows_where_there_are_some(lab, hub_lab):
    for one, spare in ((lab, False), (hub_lab, True)):
        base = read_json(one.export("mini-qwen3vl", "slq") / "retriever.json")["base"]
        assert (base["rows_needed"] == base["rows"]) is spare
    model = AutoModelForImageTextToText.from_pretrained(hub_lab.snapshot("mini-qwen3vl"))
    peft = PeftModel.from_pretrained(model.model, hub_lab.export("mini-qwen3vl", "slq"))
    assert peft.get_input_embeddings().weight.shape[0] == base["rows"]


def test_a_base_of_the_hub_is_pinned_and_stays_there(hub_lab):
    folder = hub_lab.export("mini-qwen3vl", "slq")
    for name in ("retriever.json", "adapter_config.json"):
        assert HUB["parts"][0]["commit"] in (folder / name).read_text()
    assert not (folder / "base").exists()
    card = (folder / "README.md").read_text()
    assert "base_model: lab/backbone" in card and f'revision="{HUB["parts"][0]["commit"]}"' in card


def test_queries_of_the_papers_size_are_under_a_megabyte(tmp_path):
    """The test uses N = 20 queries at InternVL3-1B's width, in PEFT's format."""
    weights, out = tmp_path / "run", tmp_path / "out"
    weights.mkdir(), out.mkdir()
    queries = torch.randn(20, 896)
    save_file({"queries": queries}, weights / "adapter.safetensors")
    base = BaseModelInfo("lab/backbone", "c0de", {}, "language_model.embed_tokens", 151674, 896)
    tokenizer = SimpleNamespace(name_or_path="", chat_template="", get_vocab=dict, add_tokens=lambda *_, **__: None)
    tokenizer.convert_tokens_to_ids = lambda names: list(range(151674, 151674 + len(names)))
    run = SimpleNamespace(adapter_folder=weights, settings={"dtype": "float32"})
    ExportFolder(run, base, tokenizer, out).write_query_tokens(20)
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    print(sizes)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= sizes.keys()
    assert 20 * 896 * 4 < sum(sizes.values()) < 1e6
    assert torch.equal(next(iter(load_file(out / "adapter_model.safetensors").values())), queries)


def test_the_folder_says_what_is_in_it(lab):
    folder = lab.export("mini-internvl", "slq")
    files = read_json(folder / "manifest.json")["files"]
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {*files, "manifest.json"}
    assert all(hash_file(folder / name) == expected for name, expected in files.items())
    assert AutoTokenizer.from_pretrained(folder).padding_side == "left"


def test_the_card_has_what_was_measured_and_says_what_was_not_run(lab, tmp_path):
    results = lab.run("mini-internvl", "slq")
    assert "Retrieval: not run." in (lab.export("mini-internvl", "slq") / "README.md").read_text()
    way = {"R@1": 12.34, "R@5": 50.0, "R@10": 61.0}
    runs = Runs(lab.root / "results", "mini")
    runs.retrieval("mini-internvl", "slq", "mini-coco", {"t2i": way, "i2t": way})
    runs.retention("mini-internvl", "slq", "mini-mmmu", 75.0)
    out = tmp_path / "out"
    assert main(["export", str(results), str(out), *lab.config]) == 0
    card = (out / "README.md").read_text()
    assert (
        "| mini-COCO | text to image | 12.3 [11.3, 13.3] | 50.0 [49.0, 51.0] | 61.0 [60.0, 62.0] | 200, 1000 |" in card
    )
    assert re.search(r"\| mini-MMMU \| 75\.0 \[68\.\d, 80\.\d\] \| 200 \|", card)
    assert "not checked" in card


def refused(capsys, *arguments):
    """The one message of a failing export."""
    assert main(["export", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def copied(lab, root, backbone="mini-internvl", method="slq"):
    """Separate lab with one run copied from another lab, and that run's results folder."""
    run, own = lab.run(backbone, method), Lab(root)
    for part in (f"scratch/backbones/{backbone}", f"scratch/runs/mini/{backbone}/{method}"):
        shutil.copytree(lab.root / part, own.root / part)
    return own, shutil.copytree(run, own.root / run.relative_to(lab.root))


def test_the_card_draws_no_markup_of_labels(lab, tmp_path):
    own, run = copied(lab, tmp_path / "lab")
    labels = {
        "datasets": {"mini-coco": {"label": "[a|b]"}},
        "backbones": {"mini-internvl": {"label": "*A* <b> $1$ #2"}},
    }
    (tmp_path / "labels.yaml").write_text(json.dumps(labels))
    way = {"R@1": 12.34, "R@5": 50.0, "R@10": 61.0}
    Runs(own.root / "results", "mini").retrieval("mini-internvl", "slq", "mini-coco", {"t2i": way, "i2t": way})
    out = tmp_path / "out"
    assert main(["export", str(run), str(out), *own.config, "--config", str(tmp_path / "labels.yaml")]) == 0
    card = (out / "README.md").read_text()
    assert r"# SLQ on \*A\* \<b\> \$1\$ \#2" in card and r"| \[a\|b\] | text to image | 12.3" in card


def test_a_method_that_export_does_not_know_is_refused_by_name(lab, tmp_path, capsys):
    own, run = copied(lab, tmp_path / "lab")
    adapter = own.root / "scratch/runs/mini/mini-internvl/slq/seed1/adapter.json"
    adapter.write_text(json.dumps(read_json(adapter) | {"method": "prompts", "hyperparameters": {}}))
    told = refused(capsys, run, tmp_path / "out", *own.config)
    assert "there is no method 'prompts'; expected one of base, full_ft, linear_head, lora, lora_queries, slq" in told
    assert [path.name for path in tmp_path.iterdir()] == ["lab"]


def test_an_export_that_would_embed_otherwise_is_not_left_there(lab, tmp_path, capsys, monkeypatch):
    """The queries are half as long, and the message lists all four differences."""
    run, out = lab.run("mini-internvl", "slq"), tmp_path / "out"

    write_whole = ExportFolder.write_query_tokens

    def write_halves(exported, count):
        write_whole(exported, count)
        path = exported.folder / "adapter_model.safetensors"
        save_file({name: values / 2 for name, values in load_file(path).items()}, path)

    monkeypatch.setattr(ExportFolder, "write_query_tokens", write_halves)
    told = refused(capsys, run, out, *lab.config)
    assert "mini/mini-internvl/slq/seed1: not exported: its embeddings would differ from the run's" in told
    assert "at most 0.0001 (float32)" in told
    found = re.findall(r"('a red circle'|'on the left .*?'|a wide image|a tall image): (\d\S*?)[,:]", told)
    assert len(found) == 4 and all(float(value) > 1e-4 for _, value in found)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_loaded_again_is_not_left_there(lab, tmp_path, capsys, monkeypatch):
    """The query tokens have no embedding rows."""

    def write_names(exported, count):
        add_query_tokens(exported.tokenizer, count)

    monkeypatch.setattr(ExportFolder, "write_query_tokens", write_names)
    told = refused(capsys, lab.run("mini-internvl", "slq"), tmp_path / "out", *lab.config)
    assert "not exported: the written folder" in told and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [*BACKBONES, "tiny-gemma3"])
def test_an_export_in_bfloat16_agrees_to_its_rounding(lab, tmp_path, name):
    own, run = copied(lab, tmp_path / "lab", name)
    content = read_json(run / "run.json")
    content["settings"]["dtype"] = "bfloat16"
    (run / "run.json").write_text(json.dumps(content))
    assert main(["export", str(run), str(tmp_path / "out"), *own.config]) == 0
    assert read_json(tmp_path / "out/retriever.json")["dtype"] == "bfloat16"


def test_an_adapter_that_needs_the_package_cannot_travel(tmp_path, monkeypatch):
    text = (THIRD / "llava.py").read_text()
    (tmp_path / "bound.py").write_text(f"from slq.common.files import hash_file\n{text}")
    monkeypatch.setattr(slq.models.families, "__path__", [*slq.models.families.__path__, str(tmp_path)])
    with pytest.raises(SlqError, match=r"bound\.py: cannot be copied .*from slq\.common\.files import hash_file"):
        write_code("bound", tmp_path / "out")
    del sys.modules["slq.models.families.bound"]


def test_what_is_there_is_not_replaced(lab, tmp_path, capsys):
    """An earlier export, to which a user may have added files, is kept, and so is a file."""
    run, out = lab.run("mini-internvl", "base"), tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "out: already exists; name another folder, or remove this one" in refused(capsys, run, out, *lab.config)
    assert "already exists" in refused(capsys, run, out / "notes.txt", *lab.config)
    assert (out / "notes.txt").read_text() == "mine" and [path.name for path in tmp_path.rglob("*")] == [
        "out",
        "notes.txt",
    ]


def test_a_folder_is_exported_to_by_whatever_name(tmp_path, monkeypatch):
    """A link to an empty folder stays a link; the current folder works too."""
    (tmp_path / "out").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path / "here")
    for name, place in ((tmp_path / "link", "out"), (Path("."), "here")):
        with stage_folder(name) as folder:
            (folder / "modules.json").write_text("[]")
        assert (tmp_path / place / "modules.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "out"]
    assert (tmp_path / "link").is_symlink()


def test_a_folder_that_was_filled_meanwhile_stays(tmp_path):
    with pytest.raises(SlqError, match="out: cannot be written: Directory not empty"), stage_folder(tmp_path / "out"):
        (tmp_path / "out").mkdir()
        (tmp_path / "out/notes.txt").write_text("mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "notes.txt"]


@pytest.mark.parametrize("name", ["adapter.safetensors", "model.safetensors"])
@pytest.mark.parametrize("content", [None, b"{"])
def test_a_file_that_cannot_be_read_is_said_and_not_that_the_export_cannot_be_written(
    lab, tmp_path, capsys, name, content
):
    own, run = copied(lab, tmp_path / "lab")
    (path,) = (own.root / "scratch").rglob(name)
    path.unlink() if content is None else path.write_bytes(content)
    told = refused(capsys, run, own.root / "out", *own.config)
    assert "cannot be written" not in told and told.count("\n") == 1, told
    assert not (own.root / "out").exists() and not list(own.root.glob(".out*"))


def test_queries_of_another_shape_are_said_and_nothing_is_left(lab, tmp_path, capsys):
    own, run = copied(lab, tmp_path / "lab")
    weights = own.root / "scratch/runs/mini/mini-internvl/slq/seed1/adapter.safetensors"
    save_file({"queries": torch.zeros(3, 128)}, weights)
    assert "expected queries 8 x 128" in refused(capsys, run, tmp_path / "out", *own.config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab"]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_snapshot_without_configuration_or_tokenizer_is_one_message(lab, tmp_path, capsys, name):
    own, run = copied(lab, tmp_path / "lab")
    (own.snapshot("mini-internvl") / name).unlink()
    told = refused(capsys, run, tmp_path / "out", *own.config)
    expected = "mini-internvl: expected the config.json and the tokenizer of the backbone: transformers: "
    assert expected in told and told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab"]


def test_a_run_without_adapter_or_of_another_backbone_is_refused(lab, tmp_path, capsys):
    assert "not a run's folder: expected run.json in it" in refused(capsys, tmp_path, tmp_path / "out", *lab.config)
    alone = shutil.copytree(lab.run("mini-internvl", "slq"), tmp_path / "results/mini/mini-internvl/slq/seed9")
    assert "seed9 is missing" in refused(capsys, alone, tmp_path / "out", *lab.config)
    other = Lab(tmp_path / "lab")
    shutil.copytree(lab.root / "scratch", other.root / "scratch")
    run = shutil.copytree(lab.run("mini-internvl", "slq"), other.root / "results/mini/mini-internvl/slq/seed1")
    manifest = other.snapshot("mini-internvl") / "manifest.json"
    manifest.write_text(manifest.read_text().replace(read_json(manifest)["sha256"], "0" * 64))
    assert "not the backbone that" in refused(capsys, run, tmp_path / "out", *other.config)
