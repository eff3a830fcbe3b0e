"""What of a backbone's architecture decides its cost: sizes, read from the keys of its transformers configuration."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slq.common.errors import SlqError

Config = Mapping[str, Any]


class NotForecast(SlqError):
    """A cost that no closed form gives: the architecture is unknown, or config.yaml leaves out a size that it needs."""


@dataclass(frozen=True)
class Text:
    """The language model without its head: `layers` of grouped-query attention and a gated MLP."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """(inputs, outputs) of a layer's seven linear maps: q, k, v, o, gate, up, down."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = ((self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow), (wide, self.hidden))
        return (*attention, *((self.hidden, self.intermediate),) * 2, (self.intermediate, self.hidden))

    @property
    def layer_weights(self) -> int:
        """Weights of a layer's linear maps."""
        return sum(inputs * outputs for inputs, outputs in self.maps)

    @property
    def map_ends(self) -> int:
        """Inputs and outputs of a layer's linear maps: what one rank of LoRA adds to each of them, together."""
        return sum(inputs + outputs for inputs, outputs in self.maps)

    @property
    def weights(self) -> int:
        """Of all layers and the embedding; biases and norms, under 0.1 %, are left out."""
        return self.layers * self.layer_weights + self.vocabulary * self.hidden


@dataclass(frozen=True)
class Vision:
    """The vision tower and what brings its features to the language model.

    Attributes:
        patch_values: numbers in one patch.
        patches: of one image token.
        tile: image tokens that attend to each other, with one class token beside; None: all of an image, without.
        projector_weights: that one image token passes, DeepStack's included.
        features: vectors of the language model's width that one image token leaves.
    """

    hidden: int
    layers: int
    intermediate: int
    patch_values: int
    patches: int
    tile: int | None
    projector_weights: int
    features: int

    @property
    def layer_weights(self) -> int:
        return 4 * self.hidden**2 + 2 * self.hidden * self.intermediate

    @property
    def weights(self) -> int:
        """Of the tower and the projector; as `Text.weights`."""
        return self.layers * self.layer_weights + self.patch_values * self.hidden + self.projector_weights

    def positions(self, tokens: float, squares: float) -> tuple[float, float]:
        """Positions of the tower, and the sum of their squares over what attends to each other.

        Args:
            tokens, squares: sums of image tokens, and of their squares, over images.
        """
        if self.tile is None:
            return self.patches * tokens, self.patches**2 * squares
        tiles, each = tokens / self.tile, self.patches * self.tile + 1
        return tiles * each, tiles * each**2


@dataclass(frozen=True)
class Architecture:
    """A backbone: `head` is the weights of a head of its own, 0 where it is tied to the embedding."""

    text: Text
    vision: Vision
    head: int
    pixels_of_token: int | None  # of the image, where its tokens follow its size

    @property
    def weights(self) -> int:
        return self.text.weights + self.vision.weights + self.head

    def image_tokens(self, pixels: float, limits: tuple[float, float] = (0, float("inf"))) -> float:
        """Tokens of one image of so many pixels, which are scaled to lie within limits; of one tile, all the same."""
        if self.pixels_of_token is None:
            return float(self.vision.tile or 0)
        return min(max(pixels, limits[0]), limits[1]) / self.pixels_of_token


def read_architecture(config: Config) -> Architecture:
    """The sizes of a transformers configuration: `pretrain.model` or `architecture` of a backbone in config.yaml.

    Raises:
        NotForecast: no closed form is known for its model_type, or a size is missing.
    """
    model = config.get("model_type")
    if model not in VISIONS:
        raise NotForecast(
            f"model_type {model!r}: no closed form of its cost; known are {sorted(VISIONS)} (slq/cost/architecture.py)"
        )
    try:
        text = _text(config["text_config"])
        vision, pixels = VISIONS[model](config, text)
    except KeyError as error:
        raise NotForecast(f"architecture of a {model}: size {error.args[0]} is missing") from error
    head = 0 if config.get("tie_word_embeddings", False) else text.vocabulary * text.hidden
    return Architecture(text, vision, head, pixels)


def is_known(config: Config) -> bool:
    """Tell whether there is a closed form for an architecture, and every size that it needs."""
    try:
        read_architecture(config)
    except NotForecast:
        return False
    return True


def _text(config: Config) -> Text:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    return Text(
        hidden,
        config["num_hidden_layers"],
        heads,
        config["num_key_value_heads"],
        config.get("head_dim", hidden // heads),
        config["intermediate_size"],
        config.get("vocab_size", 0),
    )


def _internvl(config: Config, text: Text) -> tuple[Vision, None]:
    """InternViT and two linear maps behind a pixel shuffle; a tile is always as many tokens."""
    vision = config["vision_config"]
    height, width = vision["patch_size"]
    patches = round(1 / config["downsample_ratio"] ** 2)
    shuffled = patches * vision["hidden_size"]
    return Vision(
        hidden=vision["hidden_size"],
        layers=vision["num_hidden_layers"],
        intermediate=vision["intermediate_size"],
        patch_values=3 * height * width,
        patches=patches,
        tile=config["image_seq_length"],
        projector_weights=shuffled * text.hidden + text.hidden**2,
        features=1,
    ), None


def _qwen3_vl(config: Config, text: Text) -> tuple[Vision, int]:
    """A tower at the image's own size; a merger at its end, and one more for each layer that DeepStack takes from."""
    vision = config["vision_config"]
    patches, side = vision["spatial_merge_size"] ** 2, vision["patch_size"]
    merged, mergers = patches * vision["hidden_size"], 1 + len(vision["deepstack_visual_indexes"])
    return Vision(
        hidden=vision["hidden_size"],
        layers=vision["depth"],
        intermediate=vision["intermediate_size"],
        patch_values=3 * vision["temporal_patch_size"] * side**2,
        patches=patches,
        tile=None,
        projector_weights=mergers * (merged**2 + merged * vision["out_hidden_size"]),
        features=mergers,
    ), patches * side**2


VISIONS: dict[str, Callable[[Config, Text], tuple[Vision, int | None]]] = {
    "internvl": _internvl,
    "qwen3_vl": _qwen3_vl,
}
