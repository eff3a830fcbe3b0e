"""What a backbone says of all candidates of a split: each pair and each list is asked about once, for all variants."""

import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from slq.baselines.candidates import Candidates
from slq.baselines.injection import Injection
from slq.baselines.next_token import Manner, Read, first_token, judge, matching, truth
from slq.common.errors import SlqError
from slq.datasets.prepared import Split
from slq.models.backbone import Backbone
from slq.models.family import Pixels
from slq.models.prefix import Encoded, encode

OPTIONS = "{options}"  # in the prompt, where the captions stand
SEED = 0  # of the order in which options are shown


# Of an image and a caption, by their numbers: the probability of the answer and the entropy (2,).
Truth = dict[tuple[int, int], np.ndarray]
# Of an image and the captions shown with it, by their numbers: the probability of each one's number (k,).
Choice = dict[tuple[int, tuple[int, ...]], np.ndarray]


class Judge:
    """Asks one backbone in the preset's words."""

    def __init__(self, backbone: Backbone, settings: Mapping[str, Any]) -> None:
        """`settings`: of the rule: k, answer, match, choose, inject, batch_size.

        Raises:
            SlqError: the backbone has no token for the answer, or for the number of an option.
        """
        self.backbone, self.settings = backbone, settings
        inject = settings["inject"]
        injection = Injection(inject["ratio"], tuple(inject["layers"]), inject["entropy"])
        self.rows = settings["batch_size"] * settings["k"]
        self.together = Manner(self.rows, injection)
        self.alone = Manner(settings["batch_size"], injection, reuse=False)  # a list is asked about once an image
        self.truth: Read = truth(first_token(backbone, settings["answer"], "rerank.answer"))
        self.options: Read = options(option_tokens(backbone, settings["k"]))

    def score(self, split: Split, found: Sequence[Candidates]) -> tuple[Truth, Choice]:
        """Everything that the candidates of all variants ask, a batch of images at a time."""
        captions = [text for item in split.items for text in item["captions"]]
        pairs, lists = wanted(found)
        truth: Truth = {}
        choice: Choice = {}
        with tqdm(total=len(split.items), desc=f"{split.name} re-ranking", disable=None, file=sys.stderr) as bar:
            for start in range(0, len(split.items), self.settings["batch_size"]):
                items = split.items[start : start + self.settings["batch_size"]]
                images = {
                    number: self.backbone.family.process(split.open(item["image"]))
                    for number, item in enumerate(items, start=start)
                }
                truth |= self.match(images, captions, pairs)
                choice |= self.choose(split, images, captions, lists)
                bar.update(len(images))
        return truth, choice

    def match(self, images: Mapping[int, Pixels], captions: Sequence[str], pairs: Mapping[int, Sequence[int]]) -> Truth:
        """Whether each image matches the captions that it is a candidate of."""
        asked = {
            image: matching(self.backbone, pixels, self.settings["match"], [captions[text] for text in pairs[image]])
            for image, pixels in images.items()
            if image in pairs
        }
        keys = [(image, caption) for image in asked for caption in pairs[image]]
        said = judge(self.backbone, list(asked.values()), self.truth, self.together) if asked else torch.empty(0)
        return dict(zip(keys, said.numpy(), strict=True))

    def choose(
        self,
        split: Split,
        images: Mapping[int, Pixels],
        captions: Sequence[str],
        lists: Mapping[int, Sequence[tuple[int, ...]]],
    ) -> Choice:
        """Which of each image's candidates matches it best."""
        keys = [(image, some) for image in images for some in lists[image]]
        orders = [shown_order(split.items[image]["id"], len(some)) for image, some in keys]
        asked = [
            [choosing(self.backbone, images[image], self.settings["choose"], [captions[some[at]] for at in order])]
            for (image, some), order in zip(keys, orders, strict=True)
        ]
        said = judge(self.backbone, asked, self.options, self.alone)
        answers = zip(orders, said, strict=True)
        return dict(zip(keys, (undo(order, one[: len(order)]).numpy() for order, one in answers), strict=True))


def wanted(found: Sequence[Candidates]) -> tuple[dict[int, list[int]], dict[int, list[tuple[int, ...]]]]:
    """Of each image the captions that it is a candidate of, and the different lists of its own candidates."""
    pairs: dict[int, set[int]] = defaultdict(set)
    lists: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    for one in found:
        for caption, images in zip(one.captions.tolist(), one.images.tolist(), strict=True):
            for image in images:
                pairs[image].add(caption)
        for image, some in enumerate(one.texts.tolist()):
            lists[image].add(tuple(some))
    return {image: sorted(some) for image, some in pairs.items()}, {
        image: sorted(some) for image, some in lists.items()
    }


def shown_order(image: str, count: int) -> list[int]:
    """Which candidate is shown at each place: an order of its own for each image, the same every time.

    A model may prefer a place: in the order of the coarse list, that preference would pass for knowledge.
    """
    order = list(range(count))
    random.Random(f"{SEED} {image}").shuffle(order)
    return order


def choosing(backbone: Backbone, image: Pixels, prompt: str, captions: Sequence[str]) -> Encoded:
    """The turn: the image, and which of these captions, in this order, matches it best."""
    lines = [f"{number}. {caption}" for number, caption in enumerate(captions, start=1)]
    return encode(backbone, (image, prompt.replace(OPTIONS, "\n".join(lines))))


def option_tokens(backbone: Backbone, count: int) -> list[int]:
    """The first token of each option's number.

    Raises:
        SlqError: the tokenizer has none for one of them, or begins two numbers alike.
    """
    tokens = [first_token(backbone, str(number), "rerank.k") for number in range(1, count + 1)]
    if len(set(tokens)) < count:
        raise SlqError(
            f"config: rerank.k is {count}; the backbone's tokenizer begins two of the numbers from 1 to {count} with "
            "the same token, so one token does not say which is meant; lower it"
        )
    return tokens


def options(tokens: Sequence[int]) -> Read:
    """What is read of logits (n, vocabulary): the probability of each option's number, (n, options)."""
    return lambda logits: logits.softmax(-1)[:, tokens]


def undo(shown: Sequence[int], probabilities: Tensor) -> Tensor:
    """Probabilities (options,) by place, put back into the order of the candidates: equal captions stay two."""
    return probabilities[torch.tensor(shown).argsort()]
