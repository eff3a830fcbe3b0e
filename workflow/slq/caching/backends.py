"""Cache backends: they compute the cached data of images, and convert cached data to messages for training.

`features` caches the vision-tower features of an image. `kv` caches the KV cache of the whole prefix, for methods that
do not train weights inside the prefix. Every backend has two methods:
- `cache_images` computes the cached data of a batch of messages with one image each.
- `to_message` converts the cached data of an image to a message.
"""

import inspect

import torch

from slq.caching.shard import CachedImage
from slq.common.errors import SlqError
from slq.models.backbone import Backbone
from slq.models.family import FEATURES, ProcessedImage
from slq.models.prefix import (
    CachedPrefix,
    Message,
    TokenizedMessage,
    collate,
    message_parts,
    prefill,
    split_prefix,
    tokenize_message,
)

PIXEL_VALUES = "pixel_values"


class VisionFeatureBackend:
    """`features`: projected image features, with DeepStack features; the language model still runs over all tokens."""

    @torch.no_grad()
    def cache_images(self, backbone: Backbone, batch: list[TokenizedMessage]) -> list[CachedImage]:
        """Compute the features of a batch's images, on the CPU, together with the images' other tensors except pixels.

        Raises:
            SlqError: transformers is older than 5.19, or the backbone's family does not support image features.
        """
        if "mm_encoder_outputs" not in inspect.signature(backbone.inner.forward).parameters:
            raise SlqError("training.image_cache is features, which needs transformers 5.19 or newer; use none or kv")
        images = [image for one in batch for image in one.images]
        try:
            features = backbone.family.encode_vision(backbone.inner, collate(backbone, batch)).cpu()
        except NotImplementedError as error:
            raise SlqError(f"training.image_cache is features: {error}") from error
        features_by_image = features.split([image.num_tokens for image in images])
        return [
            {FEATURES: rows} | {name: values for name, values in image.tensors.items() if name != PIXEL_VALUES}
            for rows, image in zip(features_by_image, images, strict=True)
        ]

    def to_message(self, backbone: Backbone, cached_image: CachedImage, instruction: str) -> Message:
        """Tokenise a message whose image consists of cached features."""
        return tokenize_message(backbone, message_parts(self.to_processed_image(cached_image), instruction))

    def to_processed_image(self, cached_image: CachedImage) -> ProcessedImage:
        """Return a ProcessedImage with cached features instead of pixels."""
        return ProcessedImage(cached_image, len(cached_image[FEATURES]))


class KVCacheBackend:
    """`kv`: keys, values and position ids of every token of the prefix; in training, only the queries are run."""

    def cache_images(self, backbone: Backbone, batch: list[TokenizedMessage]) -> list[CachedImage]:
        """Prefill a batch of prefixes and return the KV cache and position ids of each, on the CPU."""
        image_token_counts = [sum(image.num_tokens for image in one.images) for one in batch]
        cached_prefixes = split_prefix(prefill(backbone, collate(backbone, batch)), image_token_counts)
        return [{name: torch.as_tensor(value) for name, value in vars(one).items()} for one in cached_prefixes]

    def to_message(self, backbone: Backbone, cached_image: CachedImage, instruction: str) -> Message:
        """Return a cached image as a prefix, of which `instruction` is already a part."""
        return CachedPrefix(
            cached_image["key_values"], cached_image["position_ids"], int(cached_image["num_image_tokens"])
        )


CACHE_BACKENDS: dict[str, VisionFeatureBackend | KVCacheBackend] = {
    "features": VisionFeatureBackend(),
    "kv": KVCacheBackend(),
}
