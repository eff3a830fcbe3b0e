"""Tiny backbones of the real classes, pre-trained from scratch on drawn scenes and saved like a hub snapshot."""

import random
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, PreTrainedTokenizerFast

from slq.datasets.prepared import Split, read_split
from slq.models.backbone import Backbone
from slq.models.family import load_family
from slq.models.prefix import Encoded, collate
from slq.synthetic.drawing import CENTRES, draw_sign, draw_things
from slq.synthetic.language import captions
from slq.synthetic.pretraining import configuration, image_processor, learn, save, word_tokenizer
from slq.synthetic.questions import REQUESTS
from slq.synthetic.scenes import all_scenes, all_things, signs_to_learn
from slq.synthetic.tasks import Lessons

# A part is a line, so blanks at its ends, which stand beside an image's marker in a question, say nothing.
CHAT_TEMPLATE = """{% for message in messages %}<|im_start|> {{ message['role'] }}
{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE
{% elif part['text'].strip(' ') %}{{ part['text'].strip(' ') }}
{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|> assistant
{% endif %}"""
PARTS = 4  # of a batch, by length: padding adds 12 to 15 % of tokens then, and 19 to 38 with two parts


def build_tokenizer(markup: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the world's vocabulary with ChatML markers, image tokens and the requests."""
    special = ["<pad>", "<unk>", "<|im_start|>", "<|im_end|>", *markup["tokens"], *markup["ids"].values()]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer([*special, "user", "assistant"]),
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", *markup["tokens"], *markup["ids"].values()],
        padding_side="left",
    )
    fast.add_tokens(list(REQUESTS))  # a token each, as they say nothing that tells questions apart
    fast.chat_template = CHAT_TEMPLATE.replace("IMAGE", markup["image"])
    return fast


def build_backbone(settings: dict[str, Any], out: Path) -> Backbone:
    """An untrained backbone: the architecture is the configuration's `model`, everything else follows from it.

    `out` receives the image processor's configuration, as a snapshot holds it.
    """
    tokenizer = build_tokenizer(settings["markup"])
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(token) for name, token in settings["markup"]["ids"].items()
    }
    config = configuration(settings, tokenizer, **ids)
    torch.manual_seed(settings["seed"])
    network = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    network.generation_config.pad_token_id = tokenizer.pad_token_id
    return Backbone(network, tokenizer, load_family(settings["family"], config, image_processor(settings, out)))


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

    def loss_at(step: int) -> torch.Tensor:
        return answer_loss(backbone, lessons.batch(settings["batch_size"], step / steps))

    learn(backbone.model, loss_at, steps, settings["learning_rate"], settings["backbone"])
    save(backbone, settings, out)
