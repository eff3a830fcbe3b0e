"""Small dual encoders of the real classes, trained from scratch on drawn pairs and saved like a hub snapshot."""

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
from slq.datasets.prepared import Split, read_split
from slq.models.dual_encoder import DualEncoder, adapter_for
from slq.synthetic.pretraining import configuration, image_processor, learn, save, word_tokenizer
from slq.training.loss import info_nce

# <end> is not token 2, which CLIP's class takes for the sign of an old configuration.
SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")
TEMPERATURE = 0.07  # fixed: what CLIP's own logit_scale starts from; transformers' BLIP has none


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer of the world's vocabulary that opens and closes every text, for either class."""
    tokenizer = word_tokenizer(SPECIAL)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("<start>", "<end>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    pad, unk, start, end = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=unk, bos_token=start, eos_token=end
    )


def build_encoder(settings: dict[str, Any], out: Path) -> DualEncoder:
    """An untrained encoder: the architecture is the configuration's `model`, everything else follows from it.

    `out` receives the image processor's configuration, as a snapshot holds it.

    Raises:
        SlqError: the model's type has no adapter, or one of its keys is none of its class.
    """
    adapter = adapter_for(settings["model"]["model_type"], f"config: encoders.{settings['encoder']}.pretrain")
    tokenizer = build_tokenizer()
    config = configuration(settings, tokenizer)
    torch.manual_seed(settings["seed"])
    return adapter(adapter.model_class(config), tokenizer, image_processor(settings, out))


def pair_loss(encoder: DualEncoder, split: Split, batch_size: int, draw: random.Random) -> Callable[[int], Tensor]:
    """InfoNCE of a batch of different images, each with one of its captions, drawn anew at every call.

    Raises:
        SlqError: the split has fewer images than a batch shows.
    """
    if len(split.items) < batch_size:
        raise SlqError(
            f"config: pretrain.batch_size is {batch_size}, different images all, "
            f"and {split.name} has {len(split.items)} to learn from; lower it"
        )
    pixels = encoder.pixels([split.open(item["image"]) for item in split.items])
    temperature = torch.tensor(TEMPERATURE)

    def loss_at(_: int) -> Tensor:
        shown = draw.sample(range(len(split.items)), batch_size)
        said = [draw.choice(split.items[image]["captions"]) for image in shown]
        images, texts = encoder.image_features(pixels[shown]), encoder.text_features(**encoder.tokens(said))
        return info_nce(normalize(images, dim=-1), normalize(texts, dim=-1), temperature)

    return loss_at


def pretrain_encoder(settings: dict[str, Any], data: Path, out: Path) -> None:
    """Train an encoder from scratch on its set's training split and save it as a snapshot, manifest last."""
    out.mkdir(parents=True, exist_ok=True)
    encoder = build_encoder(settings, out)
    split = read_split(data, settings["set"], "train")
    loss_at = pair_loss(encoder, split, settings["batch_size"], random.Random(settings["seed"]))
    learn(encoder.model, loss_at, settings["steps"], settings["learning_rate"], settings["encoder"])
    save(encoder, settings, out)
