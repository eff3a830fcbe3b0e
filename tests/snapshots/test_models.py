"""Real configurations through the package's loader: sizes, weights, what each method trains, and generation."""

import json
import math
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, GenerationConfig

from oracles import whole_sequence
from slq.cost.architecture import read_architecture
from slq.evaluation.generation import GenerationParams, generate_reply_ids
from slq.methods.adapter import build_retriever
from slq.methods.lora import PROJECTIONS
from slq.models.backbone import Backbone
from slq.models.prefix import collate, tokenize_message
from slq.preflight.checks import OK
from slq.preflight.snapshot_checks import check_small_files
from snapshots.made import state_of_the_hub

TRAINED = ("InternVL3-1B", "InternVL3-8B", "Qwen3-VL-2B", "Qwen3-VL-4B")
BACKBONES = (*TRAINED, "VLM2Vec", "E5-V")
LORA = {"InternVL3-1B": 4_399_104, "Qwen3-VL-2B": 8_716_288, "Qwen3-VL-4B": 16_515_072, "InternVL3-8B": 20_185_088}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_checks_of_fetch_small_pass(small, paper, name):
    (finding,) = check_small_files(paper, "backbones", name, small(name))
    assert finding.severity == OK and finding.subject == name
    if name in TRAINED:
        assert f"lora {LORA[name]:,}" in finding.message
        assert read_architecture(paper["backbones"][name]["architecture"]) is not None


@pytest.mark.parametrize("name", TRAINED)
def test_the_architecture_is_the_snapshots(small, paper, name):
    """Every closed form's size: what config.yaml says gives the same numbers as config.json."""
    raw = json.loads((small(name) / "config.json").read_text())
    assert read_architecture(raw) == read_architecture(paper["backbones"][name]["architecture"])
    assert raw["model_type"] == paper["backbones"][name]["architecture"]["model_type"]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_weight_is_loaded_from_the_names_of_the_hub(made, load, name):
    """The head too, which InternVL's class ties by default, and whose weights are its own."""
    backbone = load(name)
    stored = load_file(made(name) / "model.safetensors")
    found = state_of_the_hub(backbone.model, backbone.model.config.model_type)
    assert found.keys() == stored.keys()
    assert all(torch.equal(found[key], stored[key]) for key in stored)
    tied = backbone.model.lm_head.weight is backbone.model.get_input_embeddings().weight
    assert tied == name.startswith("Qwen")


@pytest.mark.parametrize("name", TRAINED)
def test_lora_adapts_seven_maps_of_every_layer_and_nothing_else(made, paper, name):
    backbone = Backbone.load(made(name), paper["backbones"][name]["family"])
    layers = backbone.model.config.get_text_config().num_hidden_layers
    hyperparameters = paper["presets"]["paper"]["hyperparameters"]["lora"]
    retriever = build_retriever("lora", backbone, hyperparameters, seed=1)
    adapted = {key.rpartition(".lora_")[0] for key, _ in retriever.named_trainable_parameters()}
    expected = {(str(layer), one) for layer in range(layers) for one in PROJECTIONS}
    found = [re.fullmatch(r"model\.language_model\.layers\.(\d+)\.\w+\.(\w+)_proj", key) for key in adapted]
    assert all(found) and {match.groups() for match in found} == expected and len(adapted) == 7 * layers


@pytest.mark.parametrize("name", BACKBONES)
def test_a_batch_is_embedded_as_the_whole_sequence(load, name):
    """SLQ's two calls against one, on a padded batch of a text and two images; the images are told from each other."""
    backbone = load(name)
    images = [Image.radial_gradient("L").convert("RGB"), Image.linear_gradient("L").convert("RGB").resize((300, 120))]
    template = None if backbone.tokenizer.chat_template else "{turn}"
    images = images[: 1 if name in ("VLM2Vec", "E5-V") else 2]  # of LLaVA-NeXT's an image has 1,200 tokens or more
    parts = [("a red circle",), *((backbone.family.process(image), "what ?") for image in images)]
    batch = [tokenize_message(backbone, one, template) for one in parts]
    retriever = build_retriever("slq", backbone, {"queries": 3, "init": "normal"}, seed=1)
    with torch.inference_mode():
        vectors = retriever.embed(batch)
        if backbone.tokenizer.unk_token_id is not None:
            assert (vectors - whole_sequence(retriever, batch)).abs().max() < 1e-4
        alone = torch.cat([retriever.embed([one]) for one in batch])
    assert (vectors - alone).abs().max() < 1e-4
    assert (vectors[-2] - vectors[-1]).abs().max() > 1e-3


class Questions:
    """A split of questions about one drawn image."""

    def open(self, path):
        return Image.radial_gradient("L").convert("RGB").resize((320, 200))

    def naming_items(self):
        return nullcontext()


ITEMS = [
    {"id": str(number), "images": ["x"], "question": question, "answers": ["a"]}
    for number, question in enumerate(["<image 1> What is this?", "<image 1> Which of the shapes is left of a circle?"])
]
SAMPLING = {"do_sample": True, "temperature": 0.9, "top_p": 0.8, "top_k": 20, "top_h": 0.5, "min_p": 0.01}
CHANGING = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "num_beams": 3, "min_new_tokens": 7}
CHANGING |= {"suppress_tokens": [0, 1, 2], "bad_words_ids": [[5]], "max_length": 3, "max_time": 0.001}
CHANGING |= {"forced_eos_token_id": 5, "num_return_sequences": 2, "penalty_alpha": 0.6, "begin_suppress_tokens": [9]}


def greedy(backbone, item, count):
    """Oracle: the most probable token, one after another, each from a whole forward."""
    image = backbone.family.process(Questions().open("x"))
    ids = tokenize_message(backbone, (image, item["question"].removeprefix("<image 1> "))).ids
    ends, reply = backbone.model.generation_config.eos_token_id, []
    for _ in range(count):
        inputs = collate(backbone, [replace(tokenize_message(backbone, (image,)), ids=ids + reply, images=(image,))])
        reply.append(int(backbone.model(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1].argmax()))
        if reply[-1] in (ends if isinstance(ends, list) else [ends]):
            break
    return reply


@pytest.mark.parametrize("name", ("InternVL3-1B", "Qwen3-VL-2B"))
def test_answers_are_greedy_whatever_the_snapshot_ships(made, load, tmp_path, monkeypatch, name):
    """The defaults that it ships, which sample in Qwen3-VL's case, and others that greedy generation heeds too."""
    backbone, params = load(name), GenerationParams(max_new_tokens=4, batch_size=2)
    shipped = json.loads((made(name) / "generation_config.json").read_text())
    with torch.inference_mode():
        expected = [greedy(backbone, item, params.max_new_tokens) for item in ITEMS]
    for seed, changed in enumerate(({}, SAMPLING, SAMPLING | CHANGING)):
        (tmp_path / "generation_config.json").write_text(json.dumps(shipped | changed))
        monkeypatch.setattr(backbone.model, "generation_config", GenerationConfig.from_pretrained(tmp_path))
        torch.manual_seed(seed)
        assert generate_reply_ids(backbone, Questions(), ITEMS, params)[1] == expected


@pytest.mark.parametrize("name", TRAINED)
def test_weights_of_few_layers_say_how_many_those_of_all_are(made, small, load, paper, name):
    """LoRA's number for each layer is the closed form's, whatever the width."""
    config = json.loads((made(name) / "config.json").read_text())
    text = read_architecture(config).text
    backbone = load(name)
    linear = [one for key, one in backbone.inner.language_model.named_modules() if key.endswith("_proj")]
    per_layer = sum(one.in_features + one.out_features for one in linear) / text.layers
    assert per_layer == text.lora_parameters_per_rank
    full = read_architecture(paper["backbones"][name]["architecture"]).text
    assert 8 * full.layers * full.lora_parameters_per_rank == LORA[name]
    assert math.isclose(sum(one.weight.numel() for one in linear), text.layers * text.parameters_per_layer)
    assert AutoConfig.from_pretrained(small(name)).get_text_config().num_hidden_layers == full.layers
