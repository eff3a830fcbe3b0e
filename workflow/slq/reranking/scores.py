"""What a backbone says of all candidates of a split: each pair and each list is asked about once, for all variants."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from slq.data.prepared import Split
from slq.models.backbone import Backbone
from slq.models.family import Pixels
from slq.reranking.candidates import Candidates
from slq.reranking.choose import choosing, option_tokens, options, shown_order, undo
from slq.reranking.inject import Injection
from slq.reranking.judge import Manner, Read, first_token, judge, matching, truth


@dataclass(frozen=True)
class Scores:
    """Answers by what was asked about.

    truth: of an image and a caption, by their numbers, the probability of the answer and the entropy.
    choice: of an image and the captions shown with it, by their numbers, the probability of each one's number (k,).
    """

    truth: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)
    choice: dict[tuple[int, tuple[int, ...]], np.ndarray] = field(default_factory=dict)


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

    def score(self, split: Split, found: Sequence[Candidates]) -> Scores:
        """Everything that the candidates of all variants ask, a batch of images at a time."""
        captions = [text for item in split.items for text in item["captions"]]
        pairs, lists = wanted(found)
        scores, size = Scores(), self.settings["batch_size"]
        with tqdm(total=len(split.items), desc=f"{split.name} re-ranking", disable=None, file=sys.stderr) as bar:
            for start in range(0, len(split.items), size):
                images = {
                    start + place: self.backbone.family.process(split.open(item["image"]))
                    for place, item in enumerate(split.items[start : start + size])
                }
                self.match(images, captions, pairs, scores)
                self.choose(split, images, captions, lists, scores)
                bar.update(len(images))
        return scores

    def match(
        self,
        images: Mapping[int, Pixels],
        captions: Sequence[str],
        pairs: Mapping[int, Sequence[int]],
        scores: Scores,
    ) -> None:
        """Whether each image matches the captions that it is a candidate of."""
        keys = [(image, caption) for image in images for caption in pairs.get(image, ())]
        prompt = self.settings["match"]
        asked = [
            matching(self.backbone, pixels, prompt, [captions[caption] for caption in pairs[image]])
            for image, pixels in images.items()
            if image in pairs
        ]
        if asked:
            scores.truth.update(zip(keys, judge(self.backbone, asked, self.truth, self.together).numpy(), strict=True))

    def choose(
        self,
        split: Split,
        images: Mapping[int, Pixels],
        captions: Sequence[str],
        lists: Mapping[int, Sequence[tuple[int, ...]]],
        scores: Scores,
    ) -> None:
        """Which of each image's candidates matches it best."""
        keys = [(image, some) for image in images for some in lists[image]]
        orders = [shown_order(split.items[image]["id"], len(some)) for image, some in keys]
        asked = [
            [choosing(self.backbone, images[image], self.settings["choose"], [captions[some[at]] for at in order])]
            for (image, some), order in zip(keys, orders, strict=True)
        ]
        said = judge(self.backbone, asked, self.options, self.alone)
        for key, order, probabilities in zip(keys, orders, said, strict=True):
            scores.choice[key] = undo(order, probabilities[: len(order)]).numpy()


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
