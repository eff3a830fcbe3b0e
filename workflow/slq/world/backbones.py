"""Tiny backbones of the real classes, pre-trained from scratch on drawn scenes and saved like a hub snapshot."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, PreTrainedTokenizerFast

from slq.data.prepared import Split, read_split
from slq.data.snapshots import write_manifest
from slq.errors import SlqError
from slq.files import write_json
from slq.models.backbone import Backbone
from slq.models.family import load_family
from slq.models.prefix import Encoded, Part, collate, encode
from slq.world.language import Question, captions, questions, vocabulary
from slq.world.scenes import Scene, all_scenes

CHAT_TEMPLATE = """{% for message in messages %}<|im_start|> {{ message['role'] }}
{% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE
{% else %}{{ part['text'] }}
{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|> assistant
{% endif %}"""
# Until which part of the steps, shares of the four tasks: describe a picture, say a caption in the first way (that is
# where text and image prefixes meet), answer about a picture, about a caption. Sentences first, as each teaches ten
# words and a question one: mixed from the start, questions stay half right and SLQ's R@1 is far lower (docs/log.md).
LESSONS = (
    (0.6, {"describe": 0.50, "rephrase": 0.35, "look": 0.10, "read": 0.05}),
    (1.0, {"describe": 0.15, "rephrase": 0.15, "look": 0.45, "read": 0.25}),
)
WARM_UP = 50  # steps


def build_tokenizer(markup: dict[str, Any]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the world's vocabulary with ChatML markers and the family's image tokens."""
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


class Lessons:
    """Batches of the four tasks over a training split."""

    def __init__(self, backbone: Backbone, split: Split, scenes: list[Scene]) -> None:
        self.backbone = backbone
        self.scenes = scenes
        self.pixels = [backbone.family.process(split.open(item["image"])) for item in split.items]
        self.makers: dict[str, Callable[[int, random.Random], tuple[tuple[Part, ...], str]]] = {
            "describe": lambda i, draw: ((self.pixels[i],), captions(scenes[i])[0]),
            "rephrase": lambda i, draw: ((draw.choice(captions(scenes[i])),), captions(scenes[i])[0]),
            "look": lambda i, draw: self.ask(i, draw, self.pixels[i]),
            "read": lambda i, draw: self.ask(i, draw, draw.choice(captions(scenes[i]))),
        }

    def ask(self, i: int, draw: random.Random, content: Part) -> tuple[tuple[Part, ...], str]:
        """A question after the content it is about."""
        question: Question = draw.choice(questions(self.scenes[i]))
        return (content, question.text), question.answer

    def batch(self, size: int, done: float, draw: random.Random) -> tuple[list[Encoded], list[int]]:
        """`size` messages with their answers appended, and the answers' lengths, when a part `done` of the steps is."""
        shares = next(shares for until, shares in LESSONS if done < until)
        tasks = draw.choices(list(shares), weights=list(shares.values()), k=size)
        batch, lengths = [], []
        for task in tasks:
            parts, answer = self.makers[task](draw.randrange(len(self.scenes)), draw)
            message = encode(self.backbone, parts)
            ids = self.backbone.tokenizer(f"{answer} <|im_end|>", add_special_tokens=False)["input_ids"]
            batch.append(Encoded(message.ids + ids, message.images))
            lengths.append(len(ids))
        return batch, lengths


def answer_loss(backbone: Backbone, batch: list[Encoded], lengths: list[int]) -> torch.Tensor:
    """Cross-entropy of the answers' tokens only; each is predicted from the position before it."""
    inputs = collate(backbone, batch)
    states = backbone.inner(**inputs, use_cache=False).last_hidden_state
    columns = torch.arange(states.shape[1])
    is_answer = columns >= states.shape[1] - torch.tensor(lengths)[:, None]
    logits = backbone.model.lm_head(states[:, :-1][is_answer[:, 1:]])
    return cross_entropy(logits, inputs["input_ids"][is_answer])


def pretrain(settings: dict[str, Any], data: Path, out: Path) -> None:
    """Train a backbone from scratch on its set's training split and save it as a snapshot, manifest last."""
    out.mkdir(parents=True, exist_ok=True)
    backbone = build_backbone(settings, out)
    split = read_split(data, settings["set"], "train")
    by_caption = {captions(scene)[0]: scene for scene in all_scenes(settings["seed"])}
    lessons = Lessons(backbone, split, [by_caption[item["captions"][0]] for item in split.items])
    draw = random.Random(settings["seed"])
    parameters = list(backbone.model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings["learning_rate"], weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, 1 - step / settings["steps"])
    )
    for step in tqdm(range(settings["steps"]), desc=settings["backbone"], disable=None, file=sys.stderr):
        done = step / settings["steps"]
        loss = answer_loss(backbone, *lessons.batch(settings["batch_size"], done, draw))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {settings['steps']}: loss {loss.item():.4f}", file=sys.stderr, flush=True)
    backbone.model.save_pretrained(out)
    backbone.tokenizer.save_pretrained(out)
    write_manifest(out, settings)
