"""MLLM scores of all candidates of a split, after RetLLM (arXiv 2602.22278); docs/rerank.md lists the differences.

- Pointwise (a caption retrieves images): "does this image match this text?", scored for each image-text pair.
- Listwise (an image retrieves captions): "which of these captions matches this image?", scored for each list.

Each pair and each list is scored once for all variants.
"""

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

OPTIONS_PLACEHOLDER = "{options}"  # replaced by the numbered captions in the prompt
OPTION_ORDER_SEED = 0  # seed of the order of options in a prompt


# By image index and caption index: probability of the positive answer, and entropy in nats (2,).
PointwiseScores = dict[tuple[int, int], np.ndarray]
# By image index and the indices of its candidate captions: probability of each caption's option number (k,).
ListwiseScores = dict[tuple[int, tuple[int, ...]], np.ndarray]


class CandidateScorer:
    """Scorer of candidates with one backbone and the preset's prompts."""

    def __init__(self, backbone: Backbone, settings: Mapping[str, Any]) -> None:
        """Prepare the score functions and inference settings.

        Args:
            settings: settings of the rule: k, positive_answer, match_prompt, choice_prompt, injection, batch_size.

        Raises:
            SlqError: the backbone has no token for the positive answer, or for an option number.
        """
        self.backbone, self.settings = backbone, settings
        ratio, layers, entropy = (settings["injection"][key] for key in ("ratio", "layers", "entropy"))
        injection = InjectionConfig(ratio, tuple(layers), entropy)
        self.pointwise_config = InferenceConfig(settings["batch_size"] * settings["k"], injection, reuse_prefix=True)
        # An image has one prompt per list of captions, so there is no prefix to share.
        self.listwise_config = InferenceConfig(settings["batch_size"], injection, reuse_prefix=False)
        self.pointwise_score_function: ScoreFunction = answer_score_function(
            first_token_id(backbone, settings["positive_answer"], "rerank.positive_answer")
        )
        self.listwise_score_function: ScoreFunction = option_score_function(option_token_ids(backbone, settings["k"]))

    def score(
        self, split: Split, candidates_by_variant: Sequence[Candidates]
    ) -> tuple[PointwiseScores, ListwiseScores]:
        """Score all pairs and lists of the candidates of all variants, one batch of images at a time."""
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
        """Score, for each image, how well it matches each caption for which it is a candidate."""
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
        """Score, for each image, which of its candidate captions matches it best."""
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
    """Group candidates by image: the captions for which it is a candidate, and its distinct lists of captions."""
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
    """Return the index of the candidate at each position of the prompt: a random but fixed order for each image.

    MLLMs may prefer some positions (position bias). If options were in first-stage order, such a preference would look
    like correct re-ranking.
    """
    order = list(range(num_options))
    random.Random(f"{OPTION_ORDER_SEED} {image_id}").shuffle(order)
    return order


def build_listwise_message(
    backbone: Backbone, image: ProcessedImage, prompt: str, captions: Sequence[str]
) -> TokenizedMessage:
    """Build the message that asks which of the captions, numbered in the given order, matches the image best."""
    lines = [f"{number}. {caption}" for number, caption in enumerate(captions, start=1)]
    return tokenize_message(backbone, (image, Prompt(prompt, OPTIONS_PLACEHOLDER, "\n".join(lines))))


def option_token_ids(backbone: Backbone, num_options: int) -> list[int]:
    """Return the id of the first token of each option number.

    Raises:
        SlqError: the tokenizer has no token for an option number, or two option numbers have the same first token.
    """
    token_ids = [first_token_id(backbone, str(number), "rerank.k") for number in range(1, num_options + 1)]
    if len(set(token_ids)) < num_options:
        raise SlqError(
            f"config: rerank.k is {num_options}, but two of the numbers from 1 to {num_options} have the same first "
            "token in the backbone's tokenizer, so the first token does not identify an option; lower rerank.k"
        )
    return token_ids


def option_score_function(token_ids: Sequence[int]) -> ScoreFunction:
    """Build a function from next-token logits (n, vocabulary) to option probabilities (n, options)."""
    return lambda logits: logits.softmax(-1)[:, token_ids]


def restore_candidate_order(order: Sequence[int], probabilities: Tensor) -> Tensor:
    """Reorder probabilities (options,) from the order in the prompt to the candidates' first-stage order.

    Reordering is by position, so that candidates with equal captions remain distinct.
    """
    return probabilities[torch.tensor(order).argsort()]
