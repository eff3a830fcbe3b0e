"""Random inputs of a benchmark: a backbone of real size with random weights, and batches with COCO-like lengths."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedTokenizerFast

from slq.common.errors import SlqError
from slq.models.backbone import Backbone
from slq.models.families import load_family
from slq.models.prefix import Message, TokenizedMessage
from slq.training.pairs import Pair

# Length of COCO's captions in tokens, without the chat template: mean, standard deviation, minimum and maximum.
# This is our estimate from 10.5 words with a standard deviation of 2.4, and 1.15 tokens per word.
CAPTION_LENGTH = (12.0, 2.8, 8, 40)


def build_random_backbone(settings: Mapping[str, Any], device: str, seed: int) -> Backbone:
    """Build a backbone of the given `architecture`, with random weights and a tokenizer that has only a padding token.

    Args:
        settings: backbone, family, architecture, dtype.
    """
    if not settings["architecture"]:
        raise SlqError(f"config: backbones.{settings['backbone']}.architecture is missing; a benchmark needs its sizes")
    config = AutoConfig.for_model(**settings["architecture"])
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, settings["dtype"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0})), pad_token="<pad>")
    return Backbone(model, tokenizer, load_family(settings["family"], config, None))


def share_weights(backbone: Backbone) -> Backbone:
    """Build a second backbone that shares the weights in memory, but has its own modules to train or wrap."""
    shared_parameters = {
        id(weight): nn.Parameter(weight.data, requires_grad=False) for weight in backbone.model.parameters()
    }
    return Backbone(copy.deepcopy(backbone.model, shared_parameters), backbone.tokenizer, backbone.family)


def make_coco_like_batches(
    backbone: Backbone,
    num_images: int,
    captions_per_image: int,
    num_pixels: int,
    overhead_tokens: Mapping[str, int],
    seed: int,
) -> list[list[Pair]]:
    """Make one batch per caption of an image; each batch has all images with one caption. Tokens and pixels are random.

    Args:
        num_pixels: number of pixels of an image.
        overhead_tokens: number of chat-template tokens around a caption (`text`) and around an image (`image`).
    """
    generator = torch.Generator().manual_seed(seed)
    image_messages = [
        make_image_message(backbone, num_pixels, overhead_tokens["image"], generator) for _ in range(num_images)
    ]
    return [
        [
            Pair(image, make_caption_message(backbone, overhead_tokens["text"], generator), number)
            for number, image in enumerate(image_messages)
        ]
        for _ in range(captions_per_image)
    ]


def make_image_message(
    backbone: Backbone, num_pixels: int, overhead_tokens: int, generator: torch.Generator
) -> TokenizedMessage:
    """Make the message of a random image inside a chat turn of random tokens.

    Raises:
        SlqError: the backbone's family cannot make random images.
    """
    try:
        image = backbone.family.random_image(num_pixels, generator)
    except NotImplementedError as error:
        raise SlqError(f"bench: {error}") from error
    ids = random_token_ids(backbone, overhead_tokens, generator)
    image_ids = [backbone.model.config.image_token_id] * image.num_tokens
    return TokenizedMessage([*ids[: overhead_tokens // 2], *image_ids, *ids[overhead_tokens // 2 :]], (image,))


def make_caption_message(backbone: Backbone, overhead_tokens: int, generator: torch.Generator) -> TokenizedMessage:
    """Make the message of a random caption inside a chat turn; its random length is distributed like COCO's."""
    mean, deviation, least, most = CAPTION_LENGTH
    length = round(mean + deviation * torch.randn((), generator=generator).item())
    return TokenizedMessage(random_token_ids(backbone, overhead_tokens + min(max(length, least), most), generator), ())


def random_token_ids(backbone: Backbone, count: int, generator: torch.Generator) -> list[int]:
    """Draw random token ids that are not the image token."""
    config = backbone.model.config
    top = min(config.get_text_config().vocab_size, config.image_token_id)
    token_ids: list[int] = torch.randint(1, top, (count,), generator=generator).tolist()
    return token_ids


def replace_images(pairs: Sequence[Pair], images: Sequence[Message | None]) -> list[Pair]:
    """Return the pairs with the messages of their images replaced."""
    return [Pair(image, pair.text, pair.image_index) for pair, image in zip(pairs, images, strict=True)]
