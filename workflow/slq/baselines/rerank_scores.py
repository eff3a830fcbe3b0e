"""Backbone scores of all candidates of a split: each image-text pair and each list is scored once for all variants."""

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slq.baselines.candidates import Candidates
from slq.baselines.injection import InjectionConfig
from slq.baselines.next_token import (
    InferenceConfig,
    ScoreFunction,
    answer_score_function,
    build_pointwise_messages,
    first_token_id,
    score_next_tokens,
)
from slq.common.errors import SlqError
from slq.common.progress import Progress
from slq.datasets.splits import Split
from slq.models.backbone import Backbone
from slq.models.family import ProcessedImage
from slq.models.prefix import TokenizedMessage, tokenize_message
from slq.models.turn import Prompt

OPTIONS_PLACEHOLDER = "{options}"  # where the captions go in the prompt
OPTION_ORDER_SEED = 0  # seed of the order in which options are shown


# By image index and caption index: the probability of the answer, and the entropy (2,).
PointwiseScores = dict[tuple[int, int], np.ndarray]
# By image index and the indices of the captions shown with it: the probability of each caption's number (k,).
ListwiseScores = dict[tuple[int, tuple[int, ...]], np.ndarray]


class CandidateScorer:
    """Scorer of candidates by one backbone, with the preset's prompts."""

    def __init__(self, backbone: Backbone, settings: Mapping[str, Any]) -> None:
        """Prepare the score functions and inference settings.

        Args:
            settings: the rule's settings: k, positive_answer, match_prompt, choice_prompt, injection, batch_size.

        Raises:
            SlqError: the backbone has no token for the answer, or for the number of an option.
        """
        self.backbone, self.settings = backbone, settings
        ratio, layers, entropy = (settings["injection"][key] for key in ("ratio", "layers", "entropy"))
        injection = InjectionConfig(ratio, tuple(layers), entropy)
        self.pointwise_config = InferenceConfig(settings["batch_size"] * settings["k"], injection, reuse_prefix=True)
        # Each image has one prompt per list, so there is no prefix to share.
        self.listwise_config = InferenceConfig(settings["batch_size"], injection, reuse_prefix=False)
        self.pointwise_score_function: ScoreFunction = answer_score_function(
            first_token_id(backbone, settings["positive_answer"], "rerank.positive_answer")
        )
        self.listwise_score_function: ScoreFunction = option_score_function(option_token_ids(backbone, settings["k"]))

    def score(
        self, split: Split, candidates_by_variant: Sequence[Candidates]
    ) -> tuple[PointwiseScores, ListwiseScores]:
        """Score all pairs and lists that occur in the candidates of any variant, one batch of images at a time."""
        captions = [text for item in split.items for text in item["captions"]]
        captions_by_image, lists_by_image = group_by_image(candidates_by_variant)
        match_scores: PointwiseScores = {}
        choice_scores: ListwiseScores = {}
        bar = Progress(total=len(split.items), desc=f"{split.name} re-ranking")
        with bar, split.naming_items():
            for start in range(0, len(split.items), self.settings["batch_size"]):
                items = split.items[start : start + self.settings["batch_size"]]
                images = {
                    number: self.backbone.family.process(split.open(item["image"]))
                    for number, item in enumerate(items, start=start)
                }
                match_scores |= self.score_pointwise(images, captions, captions_by_image)
                choice_scores |= self.score_listwise(split, images, captions, lists_by_image)
                bar.update(len(images))
        return match_scores, choice_scores

    def score_pointwise(
        self,
        images: Mapping[int, ProcessedImage],
        captions: Sequence[str],
        captions_by_image: Mapping[int, Sequence[int]],
    ) -> PointwiseScores:
        """Score whether each image matches the captions that it is a candidate of."""
        candidates = {image: captions_by_image[image] for image in images if image in captions_by_image}
        if not candidates:
            return {}
        backbone, prompt = self.backbone, self.settings["match_prompt"]
        messages = [
            build_pointwise_messages(backbone, images[image], prompt, [captions[text] for text in texts])
            for image, texts in candidates.items()
        ]
        scores = score_next_tokens(backbone, messages, self.pointwise_score_function, self.pointwise_config)
        keys = [(image, caption) for image, texts in candidates.items() for caption in texts]
        return dict(zip(keys, scores.numpy(), strict=True))

    def score_listwise(
        self,
        split: Split,
        images: Mapping[int, ProcessedImage],
        captions: Sequence[str],
        lists_by_image: Mapping[int, Sequence[tuple[int, ...]]],
    ) -> ListwiseScores:
        """Score which of each image's candidate captions matches it best."""
        keys = [(image, some) for image in images for some in lists_by_image[image]]
        orders = [option_order(split.items[image]["id"], len(some)) for image, some in keys]
        backbone, prompt = self.backbone, self.settings["choice_prompt"]
        messages = [
            [build_listwise_message(backbone, images[image], prompt, [captions[some[at]] for at in order])]
            for (image, some), order in zip(keys, orders, strict=True)
        ]
        scores = score_next_tokens(backbone, messages, self.listwise_score_function, self.listwise_config)
        return {
            key: restore_candidate_order(order, one[: len(order)]).numpy()
            for key, order, one in zip(keys, orders, scores, strict=True)
        }


def group_by_image(
    candidates_by_variant: Sequence[Candidates],
) -> tuple[dict[int, list[int]], dict[int, list[tuple[int, ...]]]]:
    """Group by image the captions that it is a candidate of, and the distinct lists of its own candidates."""
    captions_by_image: dict[int, set[int]] = defaultdict(set)
    lists_by_image: dict[int, set[tuple[int, ...]]] = defaultdict(set)
    for one in candidates_by_variant:
        for caption, images in zip(one.query_captions.tolist(), one.image_candidates.tolist(), strict=True):
            for image in images:
                captions_by_image[image].add(caption)
        for image, some in enumerate(one.caption_candidates.tolist()):
            lists_by_image[image].add(tuple(some))
    captions = {image: sorted(some) for image, some in captions_by_image.items()}
    return captions, {image: sorted(some) for image, some in lists_by_image.items()}


def option_order(image_id: str, num_options: int) -> list[int]:
    """Return the index of the candidate shown at each position: a fixed random order that depends on the image.

    A model may prefer some positions; with options in first-stage order, that preference would look like knowledge.
    """
    order = list(range(num_options))
    random.Random(f"{OPTION_ORDER_SEED} {image_id}").shuffle(order)
    return order


def build_listwise_message(
    backbone: Backbone, image: ProcessedImage, prompt: str, captions: Sequence[str]
) -> TokenizedMessage:
    """Build the message that asks which of these captions, shown in this order, matches the image best."""
    lines = [f"{number}. {caption}" for number, caption in enumerate(captions, start=1)]
    return tokenize_message(backbone, (image, Prompt(prompt, OPTIONS_PLACEHOLDER, "\n".join(lines))))


def option_token_ids(backbone: Backbone, num_options: int) -> list[int]:
    """Return the first token of each option's number.

    Raises:
        SlqError: the tokenizer has no token for one of them, or begins two numbers with the same token.
    """
    token_ids = [first_token_id(backbone, str(number), "rerank.k") for number in range(1, num_options + 1)]
    if len(set(token_ids)) < num_options:
        raise SlqError(
            f"config: rerank.k is {num_options}; the backbone's tokenizer begins two of the numbers from 1 to "
            f"{num_options} with the same token, so one token does not say which is meant; lower it"
        )
    return token_ids


def option_score_function(token_ids: Sequence[int]) -> ScoreFunction:
    """Build the score function of options: from logits (n, vocabulary), the probability of each number (n, options)."""
    return lambda logits: logits.softmax(-1)[:, token_ids]


def restore_candidate_order(order: Sequence[int], probabilities: Tensor) -> Tensor:
    """Reorder probabilities (options,) from prompt positions to candidates; equal captions remain separate."""
    return probabilities[torch.tensor(order).argsort()]
