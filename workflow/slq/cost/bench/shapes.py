"""A backbone of a real shape with random weights, and batches of images and captions as long as COCO's."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from slq.common.errors import SlqError
from slq.models.backbone import Backbone
from slq.models.family import load_family
from slq.models.prefix import Encoded, Message
from slq.training.pairs import Pair

# Of COCO's captions in tokens, without the turn around them: mean, deviation, and what nearly all lie within. Ours:
# 10.5 words with a deviation of 2.4, and 1.15 tokens a word.
CAPTION = (12.0, 2.8, 8, 40)


def shaped_backbone(settings: Mapping[str, Any], device: str, seed: int) -> Backbone:
    """A backbone as its `architecture` says, with random weights and no tokenizer to speak of.

    Args:
        settings: backbone, family, architecture, dtype.

    Raises:
        SlqError: config.yaml does not say its architecture.
    """
    if not settings["architecture"]:
        raise SlqError(f"config: backbones.{settings['backbone']}.architecture is missing; a bench needs its sizes")
    config = AutoConfig.for_model(**settings["architecture"])
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, settings["dtype"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0})), pad_token="<pad>")
    return Backbone(model, tokenizer, load_family(settings["family"], config, None))


def lent_weights(backbone: Backbone) -> Backbone:
    """Another backbone on the same memory, of which other parameters may be trained, or wrapped."""
    own = {id(weight): nn.Parameter(weight.data, requires_grad=False) for weight in backbone.model.parameters()}
    return Backbone(copy.deepcopy(backbone.model, own), backbone.tokenizer, backbone.family)


def coco_pairs(
    backbone: Backbone, images: int, captions: int, pixels: int, turn: Mapping[str, int], seed: int
) -> list[list[Pair]]:
    """So many batches as an image has captions, each of all images with one caption; tokens and pixels are random.

    Args:
        pixels: of an image.
        turn: tokens of the chat template around a caption and around an image.
    """
    draw = torch.Generator().manual_seed(seed)
    shown = [image_message(backbone, pixels, turn["image"], draw) for _ in range(images)]
    return [
        [Pair(image, caption_message(backbone, turn["text"], draw), number) for number, image in enumerate(shown)]
        for _ in range(captions)
    ]


def image_message(backbone: Backbone, pixels: int, turn: int, draw: torch.Generator) -> Encoded:
    """An image between the tokens of a turn."""
    try:
        image = backbone.family.noise(pixels, draw)
    except NotImplementedError as error:
        raise SlqError(f"bench: {error}") from error
    ids = words(backbone, turn, draw)
    visual = [backbone.model.config.image_token_id] * image.tokens
    return Encoded([*ids[: turn // 2], *visual, *ids[turn // 2 :]], (image,))


def caption_message(backbone: Backbone, turn: int, draw: torch.Generator) -> Encoded:
    """A caption of some length in a turn."""
    mean, deviation, least, most = CAPTION
    length = round(mean + deviation * torch.randn((), generator=draw).item())
    return Encoded(words(backbone, turn + min(max(length, least), most), draw), ())


def words(backbone: Backbone, count: int, draw: torch.Generator) -> list[int]:
    """Random tokens that mean nothing to the model, and no image."""
    config = backbone.model.config
    top = min(config.get_text_config().vocab_size, config.image_token_id)
    found: list[int] = torch.randint(1, top, (count,), generator=draw).tolist()
    return found


def with_images(pairs: Sequence[Pair], images: Sequence[Message | None]) -> list[Pair]:
    """The same pairs with other messages in place of their images'."""
    return [Pair(image, pair.text, pair.shown) for pair, image in zip(pairs, images, strict=True)]
