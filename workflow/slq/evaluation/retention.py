"""Retention: questions answered by the tuned backbone itself, greedily, and scored by exact rules."""

import re
import string
import sys
from typing import Any

import torch
from tqdm import tqdm

from slq.data.prepared import Split
from slq.data.questions import pieces
from slq.models.backbone import Backbone
from slq.models.prefix import Part, collate, encode

SCORERS = {"ocrbench": "ocrbench-substring-1"}  # by the paper's column; all others:
DEFAULT_SCORER = "vlmevalkit-exact-1"


def question_parts(backbone: Backbone, split: Split, item: dict[str, Any]) -> tuple[Part, ...]:
    """The question as its text says: images where their markers stand, those without a marker first.

    Raises:
        SlqError: a marker names an image that the item does not have.
    """
    images = [backbone.family.process(split.open(path)) for path in item["images"]]
    return tuple(part if isinstance(part, str) else images[part] for part in pieces(item))


def answer(backbone: Backbone, split: Split, max_new_tokens: int, batch_size: int) -> list[dict[str, str]]:
    """Greedy answers to every item, in order: id and raw text."""
    replies = reply_tokens(backbone, split, max_new_tokens, batch_size)
    texts = backbone.tokenizer.batch_decode(replies, skip_special_tokens=True)
    return [{"id": item["id"], "answer": text} for item, text in zip(split.items, texts, strict=True)]


@torch.inference_mode()
def reply_tokens(backbone: Backbone, split: Split, max_new_tokens: int, batch_size: int) -> list[list[int]]:
    """Token ids of the greedy reply to every item, in order, its end token included and what pads it left out."""
    replies = []
    end = backbone.model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    starts = range(0, len(split.items), batch_size)
    for start in tqdm(starts, desc=f"{split.name} questions", disable=None, file=sys.stderr):
        items = split.items[start : start + batch_size]
        inputs = collate(backbone, [encode(backbone, question_parts(backbone, split, item)) for item in items])
        # generate() continues positions by its own rules, which need the prefix's to be its own too.
        del inputs["position_ids"]
        output = backbone.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        for reply in output[:, inputs["input_ids"].shape[1] :].tolist():
            length = next((place for place, token in enumerate(reply, start=1) if token in ends), len(reply))
            replies.append(reply[:length])
    return replies


def answered_otherwise(items: list[dict[str, Any]], one: list[list[int]], other: list[list[int]]) -> list[str]:
    """Ids of the items whose replies differ in a token, of two lists of replies to the same items."""
    return [item["id"] for item, mine, theirs in zip(items, one, other, strict=True) if mine != theirs]


def score(reference: str, items: list[dict[str, Any]], answers: list[dict[str, str]]) -> dict[str, float]:
    """Accuracy in percent, or for OCRBench the number of hits, as the paper's column prints it."""
    hits = [is_hit(reference, item, given["answer"]) for item, given in zip(items, answers, strict=True)]
    return {"score": float(sum(hits)) if reference == "ocrbench" else 100.0 * sum(hits) / len(hits)}


def scorer(reference: str) -> str:
    """Name and version of the rules that `score` applies."""
    return SCORERS.get(reference, DEFAULT_SCORER)


def is_hit(reference: str, item: dict[str, Any], reply: str) -> bool:
    """Whether a reply is right. An unparsed reply is wrong, never guessed."""
    if reference == "ocrbench":
        return ocr_hit(item, reply)
    if item["options"]:
        return choose(reply, item["options"]) in item["answers"]
    return reply.strip().rstrip(".").strip().lower() in {gold.strip().lower() for gold in item["answers"]}


def ocr_hit(item: dict[str, Any], reply: str) -> bool:
    """Any accepted answer is a substring; handwritten mathematics ignores blanks and keeps case (VLMEvalKit)."""
    if item["type"] == "Handwritten Mathematical Expression Recognition":
        squeezed = re.sub(r"\s", "", reply)
        return any(re.sub(r"\s", "", gold) in squeezed for gold in item["answers"])
    text = reply.lower().strip().replace("\n", " ")
    return any(gold.lower().strip().replace("\n", " ") in text for gold in item["answers"])


def choose(reply: str, options: list[str]) -> str | None:
    """The option letter that a reply names, as VLMEvalKit's exact matching reads it, else None.

    A letter alone among the reply's words, first occurring within the last four; else the one option whose text the
    reply contains, unless the reply is longer than twice all options.
    """
    letters = string.ascii_uppercase[: len(options)]
    words = re.sub(r"[.()\[\],:;!*#{}]", " ", reply).split()
    named = [letter for letter in letters if letter in words]
    if len(named) == 1 and words.index(named[0]) >= len(words) - 4:
        return named[0]
    if len(reply) > 2 * sum(len(option) for option in options):
        return None
    contained = [letter for letter, option in zip(letters, options, strict=True) if option.lower() in reply.lower()]
    return contained[0] if len(contained) == 1 else None
