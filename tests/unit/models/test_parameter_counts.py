"""Parameters on the real shapes: the paper's backbones on the meta device, built from numbers without a download."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from oracles import named_trainable_parameters
from slq.methods.adapter import build_retriever
from slq.models.backbone import Backbone


@dataclass(frozen=True)
class Shape:
    """A backbone as its hub snapshot describes it, and the parameter counts that follow."""

    config: dict
    width: int
    language_model: int  # without head, input embeddings included
    head: int  # separate from the input embedding; 0 if tied to it
    vision: int
    projector: int  # 0 if part of the vision tower
    lora: int  # rank 8

    @property
    def total(self):
        return self.language_model + self.head + self.vision + self.projector


def internvl(width, layers, heads, kv_heads, intermediate):
    """Configuration of InternViT-300M with Qwen2.5."""
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    vision |= {"image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True, "use_qk_norm": False}
    text = {"model_type": "qwen2", "vocab_size": 151674}
    return {
        "model_type": "internvl",
        "image_token_id": 151667,
        "tie_word_embeddings": False,  # otherwise InternVL's class in transformers ties it whatever the text model says
        "vision_config": vision,
        "text_config": text | sizes(width, layers, heads, kv_heads, intermediate),
    }


def qwen3_vl(width, layers, heads, kv_heads, intermediate):
    """Configuration of Qwen3 with DeepStack, whose head is tied to the input embedding."""
    vision = {"depth": 24, "hidden_size": 1024, "num_heads": 16, "intermediate_size": 4096, "patch_size": 16}
    vision |= {"temporal_patch_size": 2, "spatial_merge_size": 2, "num_position_embeddings": 2304}
    vision |= {"deepstack_visual_indexes": [5, 11, 17], "out_hidden_size": width}
    text = {"vocab_size": 151936, "head_dim": 128}
    return {
        "model_type": "qwen3_vl",
        "tie_word_embeddings": True,
        "vision_config": vision,
        "text_config": text | sizes(width, layers, heads, kv_heads, intermediate),
    }


def sizes(width, layers, heads, kv_heads, intermediate):
    """Sizes of a language model, under the names that both families share."""
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": intermediate,
    }


VIT, QWEN_VIT = 304_012_288, 406_957_056
# The Qwen totals are those of the safetensors on the hub.
SHAPES = {
    "InternVL3-1B": Shape(
        internvl(896, 24, 14, 2, 4864), 896, 493_798_016, 135_899_904, VIT, 4_482_816, lora=4_399_104
    ),
    "InternVL3-8B": Shape(
        internvl(3584, 28, 28, 4, 18944), 3584, 7_069_221_376, 543_599_616, VIT, 27_540_480, lora=20_185_088
    ),
    "Qwen3-VL-2B": Shape(qwen3_vl(2048, 28, 16, 8, 6144), 2048, 1_720_574_976, 0, QWEN_VIT, 0, lora=8_716_288),
    "Qwen3-VL-4B": Shape(qwen3_vl(2560, 36, 32, 8, 9728), 2560, 4_022_468_096, 0, 415_347_712, 0, lora=16_515_072),
}


@pytest.fixture(params=SHAPES)
def name(request):
    return request.param


@pytest.fixture
def backbone(name):
    """A backbone of the real shape, without storage."""
    shape = dict(SHAPES[name].config)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(shape.pop("model_type"), **shape))
    return Backbone(model, SimpleNamespace(), family=None)


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def test_the_shapes_are_the_real_ones(name, backbone):
    """The other counts rest on this one: the parts add up to the totals of the released weights."""
    shape = SHAPES[name]
    inner = backbone.inner
    vision = inner.visual if hasattr(inner, "visual") else inner.vision_tower
    assert backbone.hidden_size == shape.width
    assert count(vision.parameters()) == shape.vision
    assert count(inner.language_model.parameters()) == shape.language_model
    assert count(backbone.model.parameters()) == shape.total


METHODS = ["base", "full_ft", "lora", "slq"]


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def hyperparameters(raw_config, method):
    """The method's settings in the paper preset."""
    return raw_config["presets"]["paper"]["hyperparameters"].get(method, {})


def test_a_method_trains_as_many_parameters_as_it_should(name, backbone, method, hyperparameters):
    """SLQ trains 20 vectors, LoRA at rank 8 the paper's rounded count, full FT the language model without head.

    The input embeddings belong to the language model. Qwen3-VL's head is the same tensor, so it counts once and is
    trained as the embedding. InternVL3's head is a separate tensor and is not trained.
    """
    shape = SHAPES[name]
    expected = {"base": 0, "slq": 20 * shape.width, "lora": shape.lora, "full_ft": shape.language_model}[method]
    retriever = build_retriever(method, backbone, hyperparameters, seed=0)
    assert count(tensor for _, tensor in named_trainable_parameters(retriever)) == expected
    assert count(retriever.trainable_parameters()) == expected


def test_nothing_but_the_language_model_is_tuned(name, backbone, method, hyperparameters):
    """Vision tower, projector or merger, and an untied head are frozen for every method."""
    head = backbone.model.lm_head.weight
    build_retriever(method, backbone, hyperparameters, seed=0)
    tuned = [key for key, parameter in backbone.model.named_parameters() if parameter.requires_grad]
    assert all(key.startswith("model.language_model.") for key in tuned)
    assert bool(tuned) == (method in ("lora", "full_ft"))
    tied = head is backbone.inner.get_input_embeddings().weight
    assert tied == (SHAPES[name].head == 0)
    assert head.requires_grad == (tied and method == "full_ft")
