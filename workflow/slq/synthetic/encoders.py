"""Small dual encoders of the real model classes, trained from scratch on synthetic pairs and saved as hub snapshots."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import processors
from torch import Tensor
from torch.nn.functional import normalize
from transformers import PreTrainedTokenizerFast

from slq.common.errors import SlqError
from slq.datasets.splits import Split, read_split
from slq.models.backbone import save_part
from slq.models.dual_encoder import DualEncoder, find_encoder_class
from slq.synthetic.pretraining import (
    build_config,
    build_image_processor,
    build_word_tokenizer,
    name_settings,
    train_network,
)
from slq.training.loss import info_nce

# <end> must not have id 2, because CLIP's class takes an end token with this id as the sign of an old configuration.
SPECIAL_TOKENS = ("<pad>", "<unk>", "<start>", "<end>")
# Fixed at the initial value of CLIP's logit_scale, because BLIP in transformers has no learnable temperature.
TEMPERATURE = 0.07


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer with the synthetic vocabulary that adds start and end tokens, for CLIP and BLIP."""
    tokenizer = build_word_tokenizer(SPECIAL_TOKENS)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    pad, unk, start, end = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unk, bos_token=start, eos_token=end
    )


def build_encoder(settings: dict[str, Any], out: Path) -> DualEncoder:
    """Build an untrained encoder with the architecture in the settings' `model`.

    The configuration of the image processor is written to `out`, as in a snapshot.

    Raises:
        SlqError: the model type is not supported, or a key of `model` is unknown to the model's configuration class.
    """
    encoder_class = find_encoder_class(
        settings["model"]["model_type"], f"config: encoders.{settings['encoder']}.pretrain"
    )
    tokenizer = build_tokenizer()
    config = build_config(settings, tokenizer)
    torch.manual_seed(settings["seed"])
    with name_settings(settings, "model"):
        model = encoder_class.model_class(config)
    return encoder_class(model, tokenizer, build_image_processor(settings, out))


def build_contrastive_loss(
    encoder: DualEncoder, split: Split, batch_size: int, rng: random.Random
) -> Callable[[int], Tensor]:
    """Build the InfoNCE loss (van den Oord et al. 2018) over batches of distinct images, each with one of its captions.

    Every call of the returned function samples a new batch.

    Raises:
        SlqError: the split has fewer images than a batch.
    """
    if len(split.items) < batch_size:
        raise SlqError(
            f"config: pretrain.batch_size is {batch_size}, but the training split of {split.name} has only "
            f"{len(split.items)} images, and the images of a batch must be distinct; lower it"
        )
    pixels = encoder.preprocess_images([split.open(item["image"]) for item in split.items])
    temperature = torch.tensor(TEMPERATURE)

    def compute_loss(_: int) -> Tensor:
        image_indices = rng.sample(range(len(split.items)), batch_size)
        sampled_captions = [rng.choice(split.items[image]["captions"]) for image in image_indices]
        images, texts = (
            encoder.image_features(pixels[image_indices]),
            encoder.text_features(**encoder.tokenize_texts(sampled_captions)),
        )
        return info_nce(normalize(images, dim=-1), normalize(texts, dim=-1), temperature)

    return compute_loss


def train_encoder(settings: dict[str, Any], data: Path, out: Path) -> None:
    """Train an encoder from scratch on its dataset's training split and save it as a hub snapshot."""
    encoder = build_encoder(settings, out)
    save_part(encoder.tokenizer, out)  # before the tokenizer's first call, which changes its saved padding settings
    split = read_split(data, settings["dataset"], "train")
    compute_loss = build_contrastive_loss(encoder, split, settings["batch_size"], random.Random(settings["seed"]))
    train_network(encoder.model, compute_loss, settings)
    save_part(encoder.model, out)
