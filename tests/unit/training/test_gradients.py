"""Gradients of every tuned method compared with a plain loop: single messages, stock forwards, InfoNCE by hand."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from oracles import queries_last
from slq.common.events import EventLog
from slq.methods.adapter import build_retriever
from slq.models.prefix import collate
from slq.training.distributed import DistributedContext
from slq.training.loop import RunContext, Trainer
from together import pairs_of

SETTINGS = {"micro_batch_size": 3, "temperature": 0.07, "weight_decay": 0.0, "max_grad_norm": 1e9}  # nothing is clipped
SETTINGS |= {"mask_same_image": False, "grad_cache": False}
HYPERPARAMETERS = {
    "slq": {"queries": 4, "init": "normal", "learning_rate": 0.01, "warmup_steps": 2},
    "full_ft": {"learning_rate": 0.001, "warmup_steps": 2},
    "lora": {"rank": 4, "alpha": 12, "dropout": 0.0, "learning_rate": 0.001, "warmup_steps": 2},
    "linear_head": {"learning_rate": 0.001, "warmup_steps": 2},
}
HYPERPARAMETERS["lora_queries"] = HYPERPARAMETERS["lora"] | {"queries": 4, "init": "normal"}
FROZEN = ("slq", "linear_head")
PROMPT = {"text": "one", "image": "what is this ?"}
CAPTIONS = [
    "a red circle",
    "on the left a red circle and on the right a blue square",
    "a green ring and a small yellow star",
    "blue",
    "a large white square left of a red ring",
]
# Noise of different shapes: no two messages are alike, and the rows of a batch differ in length.
NOISE = np.random.default_rng(0)
SHAPES = [(64, 64), (64, 128), (96, 48), (80, 80), (96, 64)]
IMAGES = [Image.fromarray(NOISE.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in SHAPES]


@pytest.fixture(params=HYPERPARAMETERS)
def method(request):
    return request.param


class Run:
    """The project's own training: messages from its pairs, steps of its loop. Gradients stay until the next step."""

    def __init__(self, method, backbone, folder):
        items = [{"image": number, "captions": [caption]} for number, caption in enumerate(CAPTIONS)]
        split = SimpleNamespace(items=items, open=IMAGES.__getitem__)
        pairs = pairs_of(backbone, split, PROMPT)
        self.batch = [pairs[number] for number in range(len(pairs))]
        self.retriever = build_retriever(method, backbone, HYPERPARAMETERS[method], seed=0)
        attempt = RunContext(EventLog(folder / "events.jsonl"), DistributedContext(), None, lambda: None)
        self.loop = Trainer(self.retriever, SETTINGS, HYPERPARAMETERS[method], steps=10, seed=0, context=attempt)

    def values(self):
        """Copies of the trained tensors as they are now."""
        named = [*self.retriever.named_trainable_parameters(), ("log_temperature", self.loop.log_temperature)]
        return {name: tensor.detach().clone() for name, tensor in named}

    def gradients(self):
        """All existing gradients, those of frozen parts included."""
        named = [*self.retriever.backbone.model.named_parameters(), ("log_temperature", self.loop.log_temperature)]
        beside = dict(self.retriever.named_parameters())
        named += [(name, beside[name]) for name in ("queries", "head") if name in beside]
        return {name: tensor.grad for name, tensor in named if tensor.grad is not None}


# ---- the plain loop --------------------------------------------------------------------------------------------------


def stock_inputs(backbone, content, instruction, more=0):
    """Inputs of the stock forward for one message: the chat template's text, with its placeholder repeated by hand.

    `more` tokens follow, which queries replace.
    """
    is_image, tensors = not isinstance(content, str), {}
    parts = [
        {"type": "image"} if is_image else {"type": "text", "text": content},
        {"type": "text", "text": instruction},
    ]
    turn = [{"role": "user", "content": parts}]
    text = backbone.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    if is_image:
        pixels = backbone.family.process(content)
        tensors = pixels.tensors
        text = text.replace(backbone.family.placeholder, backbone.family.expand_placeholder(pixels.num_tokens))
    ids = backbone.tokenizer(text, add_special_tokens=False)["input_ids"] + more * [backbone.tokenizer.unk_token_id]
    if "image_grid_thw" in tensors:  # with a grid, Qwen3-VL needs to know which tokens belong to it
        types = [[int(token == backbone.model.config.image_token_id) for token in ids]]
        tensors = tensors | {"mm_token_type_ids": torch.tensor(types, dtype=torch.int)}
    return {"input_ids": torch.tensor([ids]), **tensors}


def stock_vector(backbone, content, instruction, queries=None, head=None):
    """Unit vector of one message, with the stock forward's own mask and positions.

    `queries`, if any, read it out; `head`, if any, is a matrix (d, d) that maps the last token's state.
    """
    if queries is None:
        inputs = stock_inputs(backbone, content, instruction)
        state = backbone.model.model(**inputs, use_cache=False).last_hidden_state[0, -1]
        state = state if head is None else head @ state
    else:
        inputs = stock_inputs(backbone, content, instruction, len(queries))
        with queries_last(backbone, queries):
            states = backbone.model.model(**inputs, use_cache=False).last_hidden_state[0]
        state = states[-len(queries) :].sum(0) / len(queries)
    return state / state.pow(2).sum().sqrt()


def plain_loss(backbone, log_temperature, read_out):
    """Symmetric InfoNCE, written out; `read_out` has the queries or the head, by name."""
    images = [stock_vector(backbone, image, PROMPT["image"], **read_out) for image in IMAGES]
    texts = [stock_vector(backbone, caption, PROMPT["text"], **read_out) for caption in CAPTIONS]
    count, total = len(CAPTIONS), 0.0
    similar = [[(image * text).sum() / torch.exp(log_temperature) for text in texts] for image in images]
    for i in range(count):
        row, column = torch.stack(similar[i]), torch.stack([similar[j][i] for j in range(count)])
        total = total + row.logsumexp(0) - similar[i][i] + column.logsumexp(0) - similar[i][i]
    return total / (2 * count)


def plain_gradients(method, backbone, values):
    """Loss and gradients at given values of the trained tensors, on an untouched backbone.

    LoRA (Hu et al. 2021) is written out too: for W + s B A and W's own gradient G, the gradient of A is s B' G and that
    of B is s G A'.
    """
    model = backbone.model.requires_grad_(method not in FROZEN)
    weights = dict(model.named_parameters())
    log_temperature = values["log_temperature"].requires_grad_()
    read_out = {name: values[name].requires_grad_() for name in ("queries", "head") if name in values}
    scale = HYPERPARAMETERS["lora"]["alpha"] / HYPERPARAMETERS["lora"]["rank"]
    updates = {}
    with torch.no_grad():
        for name, value in values.items():
            if name.endswith(".lora_A.default.weight"):
                layer = name.removesuffix(".lora_A.default.weight")
                updates[layer] = value, values[f"{layer}.lora_B.default.weight"]
                weights[f"{layer}.weight"] += scale * updates[layer][1] @ value
            elif name in weights:
                weights[name].copy_(value)
    loss = plain_loss(backbone, log_temperature, read_out)
    loss.backward()
    gradients = {"log_temperature": log_temperature.grad} | {name: one.grad for name, one in read_out.items()}
    if method == "full_ft":
        gradients |= {name: weights[name].grad for name in values if name in weights}
    for layer, (down, up) in updates.items():
        change = weights[f"{layer}.weight"].grad
        gradients[f"{layer}.lora_A.default.weight"] = scale * up.T @ change
        gradients[f"{layer}.lora_B.default.weight"] = scale * change @ down.T
    return loss.item(), gradients


# ----------------------------------------------------------------------------------------------------------------------


def differences(ours, oracle):
    """Size of the difference by tensor, relative to the oracle's; infinite if only the oracle's is exactly zero.

    The temperature's gradient is the difference of two mean logits and may nearly cancel, so it is relative to 1 at
    least.
    """
    sizes = {name: (float((ours[name] - oracle[name]).norm()), float(oracle[name].norm())) for name in oracle}
    if "log_temperature" in sizes:
        sizes["log_temperature"] = (sizes["log_temperature"][0], max(1.0, sizes["log_temperature"][1]))
    return {name: off / size if size else math.inf if off else 0.0 for name, (off, size) in sizes.items()}


def test_gradients_of_the_first_steps_are_a_plain_loops(method, tiny_backbone, tmp_path):
    """Only trained tensors have gradients: none outside the language model, which does not include an untied head.

    The second step is checked because LoRA's B starts at zero, so A has no gradient in the first. By then the weights
    of the two differ in rounding.
    """
    untouched = copy.deepcopy(tiny_backbone)
    run = Run(method, tiny_backbone, tmp_path)
    for tolerance in (1e-5, 1e-4):
        values = run.values()
        loss, norm = run.loop.take_step(run.batch)
        ours = run.gradients()
        expected_loss, expected = plain_gradients(method, copy.deepcopy(untouched), values)
        assert ours.keys() == expected.keys() == values.keys()
        assert max(differences(ours, expected).values()) < tolerance
        assert loss == pytest.approx(expected_loss, rel=tolerance)
        expected_norm = torch.cat([tensor.flatten().double() for tensor in expected.values()]).norm()
        assert norm == pytest.approx(float(expected_norm), rel=tolerance)
    assert min(tensor.norm() for tensor in expected.values()) > 0
    tuned = ours.keys() - {"log_temperature", "queries", "head"}
    assert all(name.startswith("model.language_model.") for name in tuned)
    assert bool(tuned) == (method not in FROZEN)


def attend_to_padding(backbone, batch, behind=0):
    inputs = collate(backbone, batch, behind)
    return inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])}


def images_to_texts_only(images, texts, temperature, shown):
    return cross_entropy(images @ texts.T / temperature, torch.arange(len(images)))


COLLATED_IN = ("slq.models.retriever.collate", "slq.models.whole_sequence.collate")
MISTAKES = {"collate": attend_to_padding, "slq.training.grad_cache.info_nce": images_to_texts_only}


@pytest.mark.parametrize("place", MISTAKES)
def test_a_mistake_would_be_seen(method, tiny_backbone, tmp_path, monkeypatch, place):
    """The comparison above can fail: attended padding, and a loss in one direction only, are far from it."""
    untouched = copy.deepcopy(tiny_backbone)
    for one in COLLATED_IN if place == "collate" else (place,):
        monkeypatch.setattr(one, MISTAKES[place])
    run = Run(method, tiny_backbone, tmp_path)
    values = run.values()
    run.loop.take_step(run.batch)
    _, expected = plain_gradients(method, untouched, values)
    assert max(differences(run.gradients(), expected).values()) > 1e-2
