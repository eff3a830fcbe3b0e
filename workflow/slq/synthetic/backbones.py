"""Tiny backbones of the real model classes, pre-trained from scratch on synthetic scenes and saved as hub snapshots."""

import random
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from slq.datasets.splits import Split, read_split
from slq.models.backbone import Backbone, save_part
from slq.models.families import load_family
from slq.models.prefix import TokenizedMessage, collate
from slq.synthetic.benchmark_rows import REQUESTS
from slq.synthetic.drawing import CENTRES, draw_objects, draw_sign
from slq.synthetic.language import scene_captions
from slq.synthetic.pretraining import (
    build_config,
    build_image_processor,
    build_word_tokenizer,
    name_settings,
    train_network,
)
from slq.synthetic.scenes import all_objects, all_scenes, pretraining_signs
from slq.synthetic.tasks import PretrainingTasks

# Each part becomes a line. The blanks around a text, which separate it from an image marker in a question, are removed.
CHAT_TEMPLATE = """{% for message in messages %}<|im_start|> {{ message['role'] }}
{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE
{% elif part['text'].strip(' ') %}{{ part['text'].strip(' ') }}
{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|> assistant
{% endif %}"""
# Number of buckets of similar length in a batch. With four, padding adds 12 to 15 % of tokens; with two, 19 to 38 %.
LENGTH_BUCKETS = 4


def build_tokenizer(markup: dict[str, Any]) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer with the synthetic vocabulary, ChatML markers, image tokens and the requests."""
    special = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", *markup["tokens"], *markup["ids"].values()]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=build_word_tokenizer([*special, "user", "assistant"]),
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", *markup["tokens"], *markup["ids"].values()],
        padding_side="left",
    )
    fast.add_tokens(list(REQUESTS))  # one token per request, because requests do not distinguish questions
    fast.chat_template = CHAT_TEMPLATE.replace("IMAGE", markup["image"])
    return fast


def build_backbone(settings: dict[str, Any], out: Path) -> Backbone:
    """Build an untrained backbone with the architecture in the settings' `model`.

    The configuration of the image processor is written to `out`, as in a snapshot.
    """
    tokenizer = build_tokenizer(settings["markup"])
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(token) for name, token in settings["markup"]["ids"].items()
    }
    config = build_config(settings, tokenizer, **ids)
    torch.manual_seed(settings["seed"])
    with name_settings(settings, "model"):
        network = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    return Backbone(network, tokenizer, load_family(settings["family"], config, build_image_processor(settings, out)))


def answer_loss(backbone: Backbone, batch: list[tuple[TokenizedMessage, list[bool]]]) -> torch.Tensor:
    """Compute the mean next-token cross-entropy over the answers' tokens only.

    Conversations of similar length share a forward pass, which saves most of the padding.
    """
    batch = sorted(batch, key=lambda conversation: len(conversation[1]))
    bucket_bounds = [len(batch) * part // LENGTH_BUCKETS for part in range(LENGTH_BUCKETS + 1)]
    losses = []
    for bucket in (batch[start:end] for start, end in pairwise(bucket_bounds) if start < end):
        inputs = collate(backbone, [message for message, _ in bucket])
        states = backbone.inner(**inputs, use_cache=False).last_hidden_state
        length = states.shape[1]
        is_answer = torch.tensor([[False] * (length - len(mask)) + mask for _, mask in bucket])
        logits = backbone.model.lm_head(states[:, :-1][is_answer[:, 1:]])
        losses.append(cross_entropy(logits, inputs["input_ids"][is_answer], reduction="sum"))
    return torch.stack(losses).sum() / sum(sum(mask) for _, mask in batch)


def build_pretraining_tasks(backbone: Backbone, split: Split, settings: dict[str, Any]) -> PretrainingTasks:
    """Build the pre-training tasks from a training split's images, images of single objects, and signs.

    The first caption of an image identifies its scene.
    """
    by_caption = {scene_captions(scene)[0]: scene for scene in all_scenes(settings["seed"])}
    scenes = [
        (by_caption[item["captions"][0]], backbone.family.process(split.open(item["image"]))) for item in split.items
    ]
    single_objects = [
        (
            scene_object,
            place,
            backbone.family.process(draw_objects([(place, scene_object)], f"{scene_object}|{place}", "filled")),
        )
        for scene_object, place in product(all_objects(), CENTRES)
    ]
    signs = [(sign, backbone.family.process(draw_sign(sign, "filled"))) for sign in pretraining_signs(settings["seed"])]
    return PretrainingTasks(backbone, scenes, single_objects, signs, random.Random(settings["seed"]))


def train_backbone(settings: dict[str, Any], data: Path, out: Path) -> None:
    """Train a backbone from scratch on its dataset's training split and save it as a hub snapshot."""
    backbone = build_backbone(settings, out)
    save_part(backbone.tokenizer, out)  # before the tokenizer's first call, which changes its saved padding settings
    tasks = build_pretraining_tasks(backbone, read_split(data, settings["dataset"], "train"), settings)
    steps = settings["steps"]

    def compute_loss(step: int) -> torch.Tensor:
        return answer_loss(backbone, tasks.sample_batch(settings["batch_size"], step / steps))

    train_network(backbone.model, compute_loss, settings)
    save_part(backbone.model, out)
