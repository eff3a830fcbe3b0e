"""The closed form of FLOPs against torch's counter on the real shapes of 1B and 2B, and its parameters."""

import copy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForImageTextToText

from conftest import CONFIG
from oracles import whole_sequence
from slq.common.errors import SlqError
from slq.cost.architecture import Architecture, read_architecture
from slq.cost.flops import ComputePlan, TokenTotals, embed_flops, sum_flops, total_flops, train_flops
from slq.methods import registry
from slq.models.backbone import Backbone
from slq.models.family import ProcessedImage, load_family
from slq.models.prefix import TokenizedMessage
from slq.training.execution import enable_gradient_checkpointing

BACKBONES = yaml.safe_load(CONFIG)["backbones"]
LAYERS, TEXTS, TEXT, AROUND = 2, 2, 30, 10  # tokens of a text, and of a turn around its image
HYPERPARAMETERS = {
    "slq": {"queries": 20, "init": "normal"},
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.0},
    "full_ft": {},
    "base": {},
}


def cut(name: str) -> dict:
    """A backbone's widths, with few layers and a small vocabulary, neither of which its maps know of."""
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
    """A tile of InternVL, or a picture of 192 x 384 pixels."""
    if sizes["model_type"] == "internvl":
        return ProcessedImage({"pixel_values": torch.zeros(1, 3, 448, 448)}, num_tokens=256)
    tensors = {"pixel_values": torch.zeros(288, 3 * 2 * 16 * 16), "image_grid_thw": torch.tensor([[1, 12, 24]])}
    return ProcessedImage(tensors, num_tokens=72)


@dataclass(frozen=True)
class Case:
    """A real shape as torch has it and as the closed form has it; an image and some texts to embed."""

    model: Any
    family: str
    architecture: Architecture
    batches: list[list[TokenizedMessage]]
    work: list[TokenTotals]

    def backbone(self) -> Backbone:
        """One of its own: LoRA changes the model that it is given."""
        model = copy.deepcopy(self.model)
        tokenizer = SimpleNamespace(pad_token_id=0, unk_token_id=1)
        return Backbone(model, tokenizer, load_family(self.family, model.config, None))

    def closed(self, form: Any, plan: ComputePlan) -> float:
        """FLOPs of all batches by the closed form."""
        return total_flops(sum_flops(form(self.architecture, plan, work) for work in self.work))


@pytest.fixture(scope="module", params=["InternVL3-1B", "Qwen3-VL-2B"])
def case(request):
    sizes = cut(request.param)
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
    """FLOPs that torch's counter sees, with a gradient where there is one to compute, and attention's among them."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        for batch in batches:
            vectors = embed(batch)
            if vectors.requires_grad:
                vectors.sum().backward()
    by_operator = counter.get_flop_counts()["Global"]
    return counter.get_total_flops(), sum(n for operator, n in by_operator.items() if "bmm" in str(operator))


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_the_closed_form_is_what_torch_counts(case, method):
    retriever = registry.build_retriever(method, case.backbone(), HYPERPARAMETERS[method], seed=0)
    seen, attention = counted(retriever.embed, case.batches)
    assert attention > 0
    assert case.closed(train_flops, ComputePlan.from_hyperparameters(method, HYPERPARAMETERS[method])) == pytest.approx(
        seen, rel=0.001
    )


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_two_passes_too(case, method):
    retriever = registry.build_retriever(method, case.backbone(), HYPERPARAMETERS[method], seed=0)
    trained = retriever.trainable_parameters()

    def twice(batch):
        looked = retriever.encode_prefix(batch)
        for wanted in (False, True):  # torch's counter stumbles over no_grad
            for parameter in trained:
                parameter.requires_grad_(wanted)
            vectors = retriever.embed_from_prefix(looked)
        return vectors

    seen, _ = counted(twice, case.batches)
    assert case.closed(
        train_flops, ComputePlan.from_hyperparameters(method, HYPERPARAMETERS[method], num_forward_passes=2)
    ) == pytest.approx(seen, rel=0.001)


@pytest.mark.parametrize("method", ["lora", "full_ft"])
def test_layers_that_run_again_too(case, method):
    """The tower runs once, and nothing goes back through it; of LoRA's own maps what runs again is left out."""
    retriever = registry.build_retriever(method, case.backbone(), HYPERPARAMETERS[method], seed=0)
    enable_gradient_checkpointing(retriever)
    seen, _ = counted(retriever.embed, case.batches)
    assert case.closed(
        train_flops, ComputePlan.from_hyperparameters(method, HYPERPARAMETERS[method], checkpointing=True)
    ) == pytest.approx(seen, rel=0.003)


def test_the_released_algorithm_too(case):
    retriever = registry.build_retriever("slq", case.backbone(), HYPERPARAMETERS["slq"], seed=0)
    seen, _ = counted(lambda batch: whole_sequence(retriever, batch), case.batches)
    plan = ComputePlan.from_hyperparameters("slq", HYPERPARAMETERS["slq"], whole_sequence=True)
    assert case.closed(train_flops, plan) == pytest.approx(seen, rel=0.001)


def test_embedding_is_the_forward_part(case):
    retriever = registry.build_retriever("slq", case.backbone(), HYPERPARAMETERS["slq"], seed=0)
    retriever.queries.requires_grad_(False)
    seen, _ = counted(retriever.embed, case.batches)
    assert case.closed(embed_flops, ComputePlan.from_hyperparameters("slq", HYPERPARAMETERS["slq"])) == pytest.approx(
        seen, rel=0.001
    )


@pytest.mark.parametrize(
    ("name", "text", "tower", "all_"),
    [  # counted on the meta device with transformers 5.23; towers with projectors
        ("InternVL3-1B", 493_798_016, 308_495_104, 938_193_024),
        ("InternVL3-8B", 7_069_221_376, 331_552_768, 7_944_373_760),
        ("Qwen3-VL-2B", 1_720_574_976, 406_957_056, 2_127_532_032),
        ("Qwen3-VL-4B", 4_022_468_096, 415_347_712, 4_437_815_808),
    ],
)
def test_sizes_in_the_configuration_are_the_papers_backbones(name, text, tower, all_):
    architecture = read_architecture(BACKBONES[name]["architecture"])
    assert architecture.text.num_parameters == pytest.approx(text, rel=1e-3)
    assert architecture.vision.num_parameters == pytest.approx(tower, rel=1e-2)
    assert architecture.num_parameters == pytest.approx(all_, rel=5e-3)


def test_what_each_part_depends_on():
    architecture = read_architecture(BACKBONES["InternVL3-1B"]["architecture"])
    work = TokenTotals.of_equal_length(3, 266, 256) + TokenTotals.of_equal_length(3, 20)

    def flops(method: str, **changes: Any) -> dict[str, float]:
        return train_flops(
            architecture, ComputePlan.from_hyperparameters(method, HYPERPARAMETERS[method], **changes), work
        )

    once, stored = flops("slq"), flops("slq", prefix_share=0.2)
    assert {part: stored[part] / once[part] for part in ("vision", "projector", "prefix")} == pytest.approx(
        {"vision": 0.2, "projector": 0.2, "prefix": 0.2}
    )
    assert (stored["queries"], stored["backward"]) == (once["queries"], once["backward"])
    assert flops("lora", prefix_share=0.2) == flops("lora")
    assert flops("lora", vision_share=0.5)["vision"] == flops("lora")["vision"] / 2
    for method in ("slq", "lora", "full_ft"):
        assert flops(method)["recompute"] == 0 < flops(method, num_forward_passes=2)["recompute"]
    assert flops("base")["backward"] == 0
    assert train_flops(architecture, ComputePlan("full_ft"), work + work) == pytest.approx(
        {part: 2 * value for part, value in flops("full_ft").items()}
    )


def test_another_architecture_has_no_closed_form():
    with pytest.raises(SlqError, match="model_type 'llava': no closed form"):
        read_architecture({"model_type": "llava"})
    with pytest.raises(SlqError, match="architecture of a qwen3_vl: size hidden_size is missing"):
        read_architecture({"model_type": "qwen3_vl", "text_config": {}})
