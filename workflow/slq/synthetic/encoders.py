"""Small dual encoders of the real classes, trained from scratch on synthetic pairs and saved like a hub snapshot."""

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

# <end> must not be token 2, by which CLIP's class recognises an old configuration.
SPECIAL_TOKENS = ("<pad>", "<unk>", "<start>", "<end>")
TEMPERATURE = 0.07  # fixed: what CLIP's own logit_scale starts from; transformers' BLIP has none


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer of the synthetic vocabulary that adds start and end tokens, for either class."""
    tokenizer = build_word_tokenizer(SPECIAL_TOKENS)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    pad, unk, start, end = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unk, bos_token=start, eos_token=end
    )


def build_encoder(settings: dict[str, Any], out: Path) -> DualEncoder:
    """Build an untrained encoder from the architecture in the settings' `model`; everything else follows from it.

    `out` receives the image processor's configuration, as in a snapshot.

    Raises:
        SlqError: the model's type has no adapter, or one of its keys is unknown to its configuration class.
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
    """Build the InfoNCE loss over batches of different images, each with one of its captions.

    Every call of the returned function samples a new batch.

    Raises:
        SlqError: the split has fewer images than a batch.
    """
    if len(split.items) < batch_size:
        raise SlqError(
            f"config: pretrain.batch_size is {batch_size}, different images all, "
            f"and {split.name} has {len(split.items)} to learn from; lower it"
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
    """Train an encoder from scratch on its dataset's training split and save it like a hub snapshot."""
    encoder = build_encoder(settings, out)
    save_part(encoder.tokenizer, out)  # before its first call, whose padding would be saved with it
    split = read_split(data, settings["dataset"], "train")
    compute_loss = build_contrastive_loss(encoder, split, settings["batch_size"], random.Random(settings["seed"]))
    train_network(encoder.model, compute_loss, settings)
    save_part(encoder.model, out)
