"""Cache backends: an image's features, or the KV cache of its whole prefix, for methods that train nothing in it.

Each of the CACHE_BACKENDS, by the cache level that its messages report, has `cache_images`, which computes what is
cached of a batch of messages with one image each, and `to_message`, which turns a cached image into a message that
training continues from.
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
    """`features`: features after the projector, with DeepStack's. The language model still runs over all tokens."""

    @torch.no_grad()
    def cache_images(self, backbone: Backbone, batch: list[TokenizedMessage]) -> list[CachedImage]:
        """Compute the features of a batch's images, on the CPU, with their other tensors except the pixels.

        Raises:
            SlqError: transformers is older than 5.19, or the backbone's family cannot encode images by themselves.
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
        """Tokenize a message whose image holds cached features."""
        return tokenize_message(backbone, message_parts(self.to_processed_image(cached_image), instruction))

    def to_processed_image(self, cached_image: CachedImage) -> ProcessedImage:
        """Return a ProcessedImage that holds cached features."""
        return ProcessedImage(cached_image, len(cached_image[FEATURES]))


class KVCacheBackend:
    """`kv`: keys, values and positions of every token before the queries. Only the queries are left to run."""

    def cache_images(self, backbone: Backbone, batch: list[TokenizedMessage]) -> list[CachedImage]:
        """Run a batch of prefixes and return the KV cache and positions of each, on the CPU.

        Raises:
            SlqError: as `split_prefix`.
        """
        image_token_counts = [sum(image.num_tokens for image in one.images) for one in batch]
        cached_prefixes = split_prefix(prefill(backbone, collate(backbone, batch)), image_token_counts)
        return [{name: torch.as_tensor(value) for name, value in vars(one).items()} for one in cached_prefixes]

    def to_message(self, backbone: Backbone, cached_image: CachedImage, instruction: str) -> Message:
        """Return a cached image as a prefix; `instruction` is already part of it."""
        return CachedPrefix(
            cached_image["key_values"], cached_image["position_ids"], int(cached_image["num_image_tokens"])
        )


CACHE_BACKENDS: dict[str, VisionFeatureBackend | KVCacheBackend] = {
    "features": VisionFeatureBackend(),
    "kv": KVCacheBackend(),
}
