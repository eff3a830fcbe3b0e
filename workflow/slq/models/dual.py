"""Dual encoders: two towers that map images and texts into one space, ready to retrieve, such as CLIP."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from slq.models.backbone import load_weights


class DualEncoder:
    """A model of transformers with `get_image_features` and `get_text_features`, its tokenizer and image processor.

    Computes in float32. Texts that are longer than the text tower reads are cut, as CLIP_benchmark cuts them: CLIP
    reads 77 tokens, the last of which then closes the text.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.length = model.config.text_config.max_position_embeddings

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "DualEncoder":
        """Load a snapshot's folder; never touches the network, never runs code that came with the weights.

        Raises:
            SlqError: the folder holds no weights, or weights that do not fit its configuration.
        """
        model = load_weights(AutoModel, folder, torch.float32)
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(model.to(device), tokenizer, processor)

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit vectors (n, d), float32."""
        pixels = self.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return normalize(self.model.get_image_features(pixels.to(self.model.device)).pooler_output, dim=-1)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n, d), float32."""
        inputs = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.length, return_tensors="pt"
        ).to(self.model.device)
        features = self.model.get_text_features(inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return normalize(features.pooler_output, dim=-1)
