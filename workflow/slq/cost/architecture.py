"""Sizes of a backbone's architecture that determine its cost, read from its transformers configuration."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slq.common.errors import SlqError

ModelConfig = Mapping[str, Any]


class UnknownCostError(SlqError):
    """A cost that has no closed form, because the architecture is unknown or config.yaml lacks a required size."""


@dataclass(frozen=True)
class TextArchitecture:
    """The language model without its LM head: `layers` of grouped-query attention and a gated MLP."""

    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int

    @property
    def linear_shapes(self) -> tuple[tuple[int, int], ...]:
        """(input width, output width) of a layer's seven linear maps: q, k, v, o, gate, up, down."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = (
            (self.hidden_size, wide),
            (self.hidden_size, narrow),
            (self.hidden_size, narrow),
            (wide, self.hidden_size),
        )
        return (
            *attention,
            *((self.hidden_size, self.intermediate_size),) * 2,
            (self.intermediate_size, self.hidden_size),
        )

    @property
    def parameters_per_layer(self) -> int:
        """Number of weights of a layer's linear maps."""
        return sum(inputs * outputs for inputs, outputs in self.linear_shapes)

    @property
    def lora_parameters_per_rank(self) -> int:
        """Number of weights that LoRA (Hu et al. 2021) adds to a layer per rank: the sum of inputs and outputs."""
        return sum(inputs + outputs for inputs, outputs in self.linear_shapes)

    @property
    def num_parameters(self) -> int:
        """Number of weights of all layers and the embedding, without biases and norms (under 0.1 %)."""
        return self.layers * self.parameters_per_layer + self.vocab_size * self.hidden_size


@dataclass(frozen=True)
class VisionArchitecture:
    """The vision tower, and the projector that maps its features to the width of the language model.

    Attributes:
        values_per_patch: input values of one patch.
        patches_per_token: patches that are merged into one image token.
        tokens_per_tile: image tokens of one tile, which attend only to each other and to one class token; None if all
            tokens of an image attend to each other and there is no class token.
        projector_parameters: projector weights applied to one image token, including DeepStack's mergers.
        features_per_token: number of vectors of the language model's width that one image token yields.
    """

    hidden_size: int
    layers: int
    intermediate_size: int
    values_per_patch: int
    patches_per_token: int
    tokens_per_tile: int | None
    projector_parameters: int
    features_per_token: int

    @property
    def parameters_per_layer(self) -> int:
        """Number of weights of a layer's linear maps."""
        return 4 * self.hidden_size**2 + 2 * self.hidden_size * self.intermediate_size

    @property
    def num_parameters(self) -> int:
        """Number of weights of the tower and the projector, without biases and norms."""
        return (
            self.layers * self.parameters_per_layer
            + self.values_per_patch * self.hidden_size
            + self.projector_parameters
        )

    def count_positions(self, tokens: float, squared_tokens: float) -> tuple[float, float]:
        """Count the tower's positions, and the pairs of positions that attend to each other.

        Args:
            tokens, squared_tokens: sum over images of the number of image tokens, and of its square.
        """
        if self.tokens_per_tile is None:
            return self.patches_per_token * tokens, self.patches_per_token**2 * squared_tokens
        tiles, positions_per_tile = tokens / self.tokens_per_tile, self.patches_per_token * self.tokens_per_tile + 1
        return tiles * positions_per_tile, tiles * positions_per_tile**2


@dataclass(frozen=True)
class Architecture:
    """The sizes of a backbone.

    Attributes:
        head_parameters: weights of the LM head; 0 if the head is tied to the embedding.
        pixels_per_token: pixels of the image per image token; None if every image has the same number of tokens.
    """

    text: TextArchitecture
    vision: VisionArchitecture
    head_parameters: int
    pixels_per_token: int | None

    @property
    def num_parameters(self) -> int:
        """Number of weights of the language model, the vision tower, the projector and the head."""
        return self.text.num_parameters + self.vision.num_parameters + self.head_parameters

    def count_image_tokens(self, pixels: float, limits: tuple[float, float] = (0, float("inf"))) -> float:
        """Count the tokens of one image.

        Args:
            pixels: pixels of the image; ignored if every image has the same number of tokens.
            limits: minimum and maximum number of pixels; the image is resized to lie between them.
        """
        if self.pixels_per_token is None:
            return float(self.vision.tokens_per_tile or 0)
        return min(max(pixels, limits[0]), limits[1]) / self.pixels_per_token


def read_architecture(config: ModelConfig) -> Architecture:
    """Read the sizes in a transformers configuration: `pretrain.model` or a backbone's `architecture` in config.yaml.

    Raises:
        UnknownCostError: there is no closed form for its model_type, or a size is missing.
    """
    model = config.get("model_type")
    if model not in VISION_READERS:
        raise UnknownCostError(
            f"model_type {model!r}: no closed form of its cost; expected one of {sorted(VISION_READERS)} "
            "(slq/cost/architecture.py)"
        )
    try:
        text = _read_text(config["text_config"])
        vision, pixels = VISION_READERS[model](config, text)
    except KeyError as error:
        raise UnknownCostError(f"architecture with model_type {model}: size {error.args[0]} is missing") from error
    head = 0 if config.get("tie_word_embeddings", False) else text.vocab_size * text.hidden_size
    return Architecture(text, vision, head, pixels)


def is_known_architecture(config: ModelConfig) -> bool:
    """Return whether an architecture has a closed form and all sizes that the closed form needs."""
    try:
        read_architecture(config)
    except UnknownCostError:
        return False
    return True


def _read_text(config: ModelConfig) -> TextArchitecture:
    """Read the sizes of the language model."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    return TextArchitecture(
        hidden,
        config["num_hidden_layers"],
        heads,
        config["num_key_value_heads"],
        config.get("head_dim", hidden // heads),
        config["intermediate_size"],
        config.get("vocab_size", 0),
    )


def _read_internvl(config: ModelConfig, text: TextArchitecture) -> tuple[VisionArchitecture, None]:
    """Read the sizes of InternViT and of the two linear maps after its pixel shuffle; every tile has the same size."""
    vision = config["vision_config"]
    patches = round(1 / config["downsample_ratio"] ** 2)
    shuffled = patches * vision["hidden_size"]
    return VisionArchitecture(
        hidden_size=vision["hidden_size"],
        layers=vision["num_hidden_layers"],
        intermediate_size=vision["intermediate_size"],
        values_per_patch=3 * _area(vision["patch_size"]),
        patches_per_token=patches,
        tokens_per_tile=config["image_seq_length"],
        projector_parameters=shuffled * text.hidden_size + text.hidden_size**2,
        features_per_token=1,
    ), None


def _read_qwen3_vl(config: ModelConfig, text: TextArchitecture) -> tuple[VisionArchitecture, int]:
    """Read the sizes of Qwen3-VL's vision tower, which processes images at their native resolution.

    The tower has one merger at its end, and one for each layer from which DeepStack takes features.
    """
    vision = config["vision_config"]
    patches, pixels_per_patch = vision["spatial_merge_size"] ** 2, _area(vision["patch_size"])
    merged, mergers = patches * vision["hidden_size"], 1 + len(vision["deepstack_visual_indexes"])
    return VisionArchitecture(
        hidden_size=vision["hidden_size"],
        layers=vision["depth"],
        intermediate_size=vision["intermediate_size"],
        values_per_patch=3 * vision["temporal_patch_size"] * pixels_per_patch,
        patches_per_token=patches,
        tokens_per_tile=None,
        projector_parameters=mergers * (merged**2 + merged * vision["out_hidden_size"]),
        features_per_token=mergers,
    ), patches * pixels_per_patch


def _area(size: int | Sequence[int]) -> int:
    """Return the number of pixels of a square, given its side, or of a rectangle, given height and width."""
    return size**2 if isinstance(size, int) else math.prod(size)


VISION_READERS: dict[str, Callable[[ModelConfig, TextArchitecture], tuple[VisionArchitecture, int | None]]] = {
    "internvl": _read_internvl,
    "qwen3_vl": _read_qwen3_vl,
}
