"""FLOPs on the real shapes of two of the paper's backbones, by torch's counter and by the closed form."""

import copy
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText

from conftest import CONFIG
from slq.cost.architecture import Architecture, read_architecture
from slq.cost.flops import TokenTotals, sum_flops, total_flops
from slq.methods.plan import ComputePlan
from slq.methods.registry import find_method
from slq.models.backbone import Backbone
from slq.models.families import load_family
from slq.models.family import ProcessedImage
from slq.models.prefix import TokenizedMessage

SHAPES = ("InternVL3-1B", "Qwen3-VL-2B")
BACKBONES = yaml.safe_load(CONFIG)["backbones"]
LAYERS, TEXTS, TEXT, AROUND = 2, 2, 30, 10  # TEXT: tokens of a text; AROUND: tokens of a turn without its image


def cut(name: str) -> dict:
    """Return a backbone's sizes with few layers and a small vocabulary; the shapes of its linear maps stay."""
    sizes = yaml.safe_load(yaml.safe_dump(BACKBONES[name]["architecture"]))
    vision = sizes["vision_config"]
    vision["depth" if "depth" in vision else "num_hidden_layers"] = LAYERS
    if "deepstack_visual_indexes" in vision:
        vision["deepstack_visual_indexes"] = [0, 1]
    sizes["text_config"] |= {"num_hidden_layers": LAYERS, "vocab_size": 512}
    if sizes["model_type"] == "qwen3_vl":
        rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
        sizes["text_config"]["rope_parameters"] = rope
        sizes |= {"image_token_id": 7, "video_token_id": 8, "vision_start_token_id": 9}
    return sizes | {"image_token_id": 7}


def pixels(sizes: dict) -> ProcessedImage:
    """Return one InternVL tile, or an image of 192 x 384 pixels."""
    if sizes["model_type"] == "internvl":
        return ProcessedImage({"pixel_values": torch.zeros(1, 3, 448, 448)}, num_tokens=256)
    tensors = {"pixel_values": torch.zeros(288, 3 * 2 * 16 * 16), "image_grid_thw": torch.tensor([[1, 12, 24]])}
    return ProcessedImage(tensors, num_tokens=72)


@dataclass(frozen=True)
class Case:
    """A backbone of real shape as a torch model and as closed-form sizes, with an image and texts to embed."""

    model: Any
    family: str
    architecture: Architecture
    batches: list[list[TokenizedMessage]]
    work: list[TokenTotals]

    def backbone(self) -> Backbone:
        """Build a backbone with its own copy of the model, because LoRA changes the model in place."""
        model = copy.deepcopy(self.model)
        tokenizer = SimpleNamespace(pad_token_id=0, unk_token_id=1)
        return Backbone(model, tokenizer, load_family(self.family, model.config, None))

    def plan(self, method: str, hyperparameters: dict[str, Any], **changes: Any) -> ComputePlan:
        return replace(find_method(method).plan(hyperparameters, self.architecture.text), **changes)

    def closed(self, form: Any, plan: ComputePlan) -> float:
        """Sum the FLOPs of all batches by the closed form."""
        return total_flops(sum_flops(form(self.architecture, plan, work) for work in self.work))


def make_case(name: str) -> Case:
    """Build the case of a backbone of the catalogue."""
    sizes = cut(name)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**sizes), attn_implementation="sdpa")
    model = model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.zero_()
    image = pixels(sizes)
    batches = [
        [TokenizedMessage([7] * image.num_tokens + [1] * AROUND, (image,))],
        [TokenizedMessage([1] * TEXT, ())] * TEXTS,
    ]
    work = [
        TokenTotals.of_equal_length(1, image.num_tokens + AROUND, image.num_tokens),
        TokenTotals.of_equal_length(TEXTS, TEXT),
    ]
    return Case(model, sizes["model_type"], read_architecture(sizes), batches, work)


def counted(embed: Any, batches: list[list[TokenizedMessage]]) -> tuple[float, float]:
    """Count FLOPs with torch, including the backward pass if there is one; return the total and attention's part."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        for batch in batches:
            vectors = embed(batch)
            if vectors.requires_grad:
                vectors.sum().backward()
    by_operator = counter.get_flop_counts()["Global"]
    return counter.get_total_flops(), sum(n for operator, n in by_operator.items() if "bmm" in str(operator))
