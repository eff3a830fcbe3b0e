"""Tiny backbones of the real classes, pre-trained from scratch on drawn scenes and saved like a hub snapshot."""

import random
import sys
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, PreTrainedTokenizerFast

from slq.data.prepared import Split, read_split
from slq.data.snapshots import write_manifest
from slq.errors import SlqError
from slq.files import write_json
from slq.models.backbone import Backbone
from slq.models.family import load_family
from slq.models.prefix import Encoded, collate
from slq.world.drawing import CENTRES, draw_sign, draw_things
from slq.world.language import captions, vocabulary
from slq.world.lessons import Lessons
from slq.world.muon import Muon
from slq.world.questions import REQUESTS
from slq.world.scenes import all_scenes, all_things
from slq.world.signs import signs_to_learn

CHAT_TEMPLATE = """{% for message in messages %}<|im_start|> {{ message['role'] }}
{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE
{% else %}{{ part['text'] }}
{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|> assistant
{% endif %}"""
WARM_UP = 50  # steps
DECAY = 0.25  # of the steps, at the end; a rate that falls from the start tells things apart too late (docs/log.md)
PARTS = 4  # of a batch, by length: padding adds 12 to 15 % of tokens then, and 19 to 38 with two parts
MUON = 1.5  # times the learning rate, for matrices


def build_tokenizer(markup: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the world's vocabulary with ChatML markers, image tokens and the requests."""
    special = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", *markup["tokens"], *markup["ids"].values()]
    words = [*special, "user", "assistant", *vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", *markup["tokens"], *markup["ids"].values()],
        padding_side="left",
    )
    fast.add_tokens(list(REQUESTS))  # a token each, as they say nothing that tells questions apart
    fast.chat_template = CHAT_TEMPLATE.replace("IMAGE", markup["image"])
    return fast


def check_keys(given: dict[str, Any], where: str = "model") -> None:
    """Refuse keys that the model's configuration class does not have: transformers takes them without a word.

    Raises:
        SlqError: names the key and the class.
    """
    default = AutoConfig.for_model(given["model_type"])
    parts = {name: getattr(default, name) for name in default.sub_configs}
    for key, value in given.items():
        if key not in default.to_dict() and key not in default.attribute_map:
            raise SlqError(f"config: pretrain.{where}.{key} is not a key of {type(default).__name__} in transformers")
        if key in parts:
            check_keys({"model_type": parts[key].model_type, **value}, f"{where}.{key}")


def build_backbone(settings: dict[str, Any], out: Path) -> Backbone:
    """An untrained backbone: the architecture is the configuration's `model`, everything else follows from it.

    `out` receives the image processor's configuration, as a snapshot holds it.
    """
    check_keys(settings["model"])
    tokenizer = build_tokenizer(settings["markup"])
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in settings["markup"]["ids"].items()}
    model = dict(settings["model"])
    model["text_config"] = model["text_config"] | {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    config = AutoConfig.for_model(model.pop("model_type"), **model, **ids)
    torch.manual_seed(settings["seed"])
    network = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    write_json(out / "preprocessor_config.json", settings["image_processor"])
    processor = AutoImageProcessor.from_pretrained(out, backend="pil", local_files_only=True)
    return Backbone(network, tokenizer, load_family(settings["family"], config, processor))


def answer_loss(backbone: Backbone, batch: list[tuple[Encoded, list[bool]]]) -> torch.Tensor:
    """Cross-entropy of the answers' tokens only; each is predicted from the position before it.

    Talks of about one length run together, which saves most of the padding.
    """
    batch = sorted(batch, key=lambda talk: len(talk[1]))
    cuts = [len(batch) * part // PARTS for part in range(PARTS + 1)]
    losses = []
    for part in (batch[start:end] for start, end in pairwise(cuts) if start < end):
        inputs = collate(backbone, [message for message, _ in part])
        states = backbone.inner(**inputs, use_cache=False).last_hidden_state
        length = states.shape[1]
        answers = torch.tensor([[False] * (length - len(mask)) + mask for _, mask in part])
        logits = backbone.model.lm_head(states[:, :-1][answers[:, 1:]])
        losses.append(cross_entropy(logits, inputs["input_ids"][answers], reduction="sum"))
    return torch.stack(losses).sum() / sum(sum(mask) for _, mask in batch)


def optimizers(network: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for embeddings, norms and biases; Muon's steps have AdamW's size.

    In the same steps AdamW alone learns to describe and not yet to read (docs/log.md).
    """
    embeddings = {
        id(p) for module in network.modules() if isinstance(module, nn.Embedding) for p in module.parameters()
    }
    parameters = list(network.parameters())
    inside = [p for p in parameters if p.ndim == 2 and id(p) not in embeddings]
    chosen = {id(p) for p in inside}
    return [
        Muon(inside, lr=MUON * learning_rate),
        torch.optim.AdamW([p for p in parameters if id(p) not in chosen], lr=learning_rate, weight_decay=0.01),
    ]


def learn_scenes(backbone: Backbone, split: Split, settings: dict[str, Any]) -> Lessons:
    """The lessons on a training split's pictures, whose scenes its captions name, and on single things and signs."""
    by_caption = {captions(scene)[0]: scene for scene in all_scenes(settings["seed"])}
    scenes = [
        (by_caption[item["captions"][0]], backbone.family.process(split.open(item["image"]))) for item in split.items
    ]
    alone = [
        (thing, place, backbone.family.process(draw_things([(place, thing)], f"{thing}|{place}", "filled")))
        for thing, place in product(all_things(), CENTRES)
    ]
    signs = [(sign, backbone.family.process(draw_sign(sign, "filled"))) for sign in signs_to_learn(settings["seed"])]
    return Lessons(backbone, scenes, alone, signs, random.Random(settings["seed"]))


def pretrain(settings: dict[str, Any], data: Path, out: Path) -> None:
    """Train a backbone from scratch on its set's training split and save it as a snapshot, manifest last."""
    out.mkdir(parents=True, exist_ok=True)
    backbone = build_backbone(settings, out)
    lessons = learn_scenes(backbone, read_split(data, settings["set"], "train"), settings)
    steps = settings["steps"]
    steppers = optimizers(backbone.model, settings["learning_rate"])
    schedules = [
        LambdaLR(stepper, lambda step: min((step + 1) / WARM_UP, 1, (1 - step / steps) / DECAY)) for stepper in steppers
    ]
    for step in tqdm(range(steps), desc=settings["backbone"], disable=None, file=sys.stderr):
        loss = answer_loss(backbone, lessons.batch(settings["batch_size"], step / steps))
        backbone.model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(backbone.model.parameters(), 1.0)
        for stepper in steppers:
            stepper.step()
        for schedule in schedules:
            schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.4f}", file=sys.stderr, flush=True)
    backbone.model.save_pretrained(out)
    backbone.tokenizer.save_pretrained(out)
    write_manifest(out, settings)
