"""Dual encoders such as CLIP: an image tower and a text tower, pre-trained to embed into one shared space."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pad_sequence

from slq.common.errors import SlqError, TextError
from slq.common.files import read_json
from slq.common.registry import find_class
from slq.common.snapshots import require_weights
from slq.models.backbone import load_pretrained, load_processors
from slq.models.turn import TextTokenizer, UnusableTurnError

ENCODER_FOLDER = Path(__file__).parent / "dual_encoders"


class DualEncoder(ABC):
    """Image and text towers with their tokenizer and image processor, in eval mode and in the dtype of their weights.

    An adapter in `slq/models/dual_encoders/` defines the differences between models: the transformers class, how texts
    are truncated, and which outputs of the two towers are the embeddings.

    Attributes:
        model_class: the model's class in transformers.
        max_text_tokens: maximum length of a text in tokens, including the first and last special token. A longer text
            is truncated and keeps its last special token.
    """

    model_class: Any

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        """Put the model in eval mode."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.text_tokenizer = TextTokenizer(tokenizer)
        self.image_processor = image_processor

    @staticmethod
    def load(folder: Path, device: str = "cpu") -> "DualEncoder":
        """Load a dual encoder in float32 from a snapshot folder, offline and without running shipped code.

        Raises:
            SlqError: the weights are missing or do not match the configuration, or no adapter exists for the snapshot's
                `model_type`.
        """
        require_weights(folder)
        encoder_class = find_encoder_class(read_json(folder / "config.json").get("model_type"), folder)
        model = load_pretrained(encoder_class.model_class, folder, torch.float32)
        processor, tokenizer = load_processors(folder)
        return encoder_class(model.to(device), tokenizer, processor)

    @property
    @abstractmethod
    def max_text_tokens(self) -> int:
        """Maximum length of a text in tokens, as in the original model's evaluation."""

    @abstractmethod
    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Compute embeddings (n, d), not yet normalised, of processed images (n, 3, height, width)."""

    @abstractmethod
    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute embeddings (n, d), not yet normalised, of right-padded texts (n, L)."""

    def preprocess_text(self, text: str) -> str:
        """Preprocess a text as the original model's evaluation does before tokenisation; unchanged by default."""
        return text

    def preprocess_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Preprocess RGB images into a tensor (n, 3, height, width) on the model's device."""
        pixel_values: Tensor = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return pixel_values.to(self.model.device)

    def tokenize_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokenise texts, truncated to `max_text_tokens`, into `input_ids` and `attention_mask` (n, L) on the device.

        Rows are padded on the right, because the text tower numbers positions from the first token of a row.

        Raises:
            TextError: a token id exceeds the embedding matrix.
        """
        prepared = [self.text_tokenizer.protect(self.preprocess_text(text)) for text in texts]
        rows = self.text_tokenizer.encode(prepared, max_length=self.max_text_tokens)
        for text, row in zip(texts, rows, strict=True):
            try:
                self.text_tokenizer.require_embedded(row, self.model.config.text_config.vocab_size, text)
            except UnusableTurnError as error:
                raise TextError(str(error), error.text) from error
        ids = [torch.tensor(row) for row in rows]
        masks = [torch.ones_like(row) for row in ids]
        inputs = {
            "input_ids": pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_token_id),
            "attention_mask": pad_sequence(masks, batch_first=True),
        }
        return {name: tensor.to(self.model.device) for name, tensor in inputs.items()}

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Encode images as unit vectors (n, d) in float32."""
        return normalize(self.image_features(self.preprocess_images(images)), dim=-1)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as unit vectors (n, d) in float32."""
        return normalize(self.text_features(**self.tokenize_texts(texts)), dim=-1)


def find_encoder_class(model_type: str | None, requested_by: object) -> type[DualEncoder]:
    """Return the adapter class in `slq/models/dual_encoders/<model_type>.py`.

    Args:
        requested_by: the snapshot folder or config key, for the error message.
    """
    known = sorted(path.stem for path in ENCODER_FOLDER.glob("[!_]*.py"))
    if model_type not in known:
        raise SlqError(
            f"{requested_by}: its model_type is {model_type!r}, for which slq/models/dual_encoders has no adapter; "
            f"expected one of {', '.join(known)} (docs/backbones.md explains how to add one)"
        )
    module = importlib.import_module(f"slq.models.dual_encoders.{model_type}")
    encoder_class: type[DualEncoder] = find_class(module, DualEncoder, "a dual encoder", "docs/backbones.md")
    return encoder_class
