"""What can be kept of an image: its features, for every method, or for SLQ the keys and values of its whole prefix.

Each of the KINDS has `leaves`, what is spared later, as `state` of a message says it; `keep`, what is kept of the
images of a batch, one image in each message; and `message`, an image's message as it goes on from there.
"""

import inspect

import torch

from slq.caching.shard import Slab
from slq.common.errors import SlqError
from slq.models.backbone import Backbone
from slq.models.family import FEATURES, Pixels
from slq.models.prefix import Encoded, Message, Stored, collate, encode, message, run_prefix, split_prefix

PIXELS = "pixel_values"


class Vision:
    """`vision`: features behind the projector, DeepStack's too. The language model still runs over all tokens."""

    leaves = "seen"

    @torch.no_grad()
    def keep(self, backbone: Backbone, batch: list[Encoded]) -> list[Slab]:
        if "mm_encoder_outputs" not in inspect.signature(backbone.inner.forward).parameters:
            raise SlqError("training.prefix is vision, which needs transformers 5.19 or newer; use recompute or kv")
        images = [image for one in batch for image in one.images]
        try:
            features = backbone.family.look_at(backbone.inner, collate(backbone, batch)).cpu()
        except NotImplementedError as error:
            raise SlqError(f"training.prefix is vision: {error}") from error
        facts = [{name: values for name, values in image.tensors.items() if name != PIXELS} for image in images]
        each = features.split([image.tokens for image in images])
        return [Slab({FEATURES: rows}, fact) for rows, fact in zip(each, facts, strict=True)]

    def message(self, backbone: Backbone, slab: Slab, instruction: str) -> Message:
        return encode(backbone, message(self.pixels(slab), instruction))

    def pixels(self, slab: Slab) -> Pixels:
        """An image that was looked at."""
        return Pixels({**slab.rows, **slab.facts}, slab.length)


class KeysAndValues:
    """`kv`: keys, values and positions of every token before the queries. Only the queries are left to run."""

    leaves = "kept"

    def keep(self, backbone: Backbone, batch: list[Encoded]) -> list[Slab]:
        visual = [sum(image.tokens for image in one.images) for one in batch]
        stored = split_prefix(run_prefix(backbone, collate(backbone, batch)), visual)
        return [
            Slab({"values": one.values, "positions": one.positions}, {"visual": torch.tensor(one.visual)})
            for one in stored
        ]

    def message(self, backbone: Backbone, slab: Slab, instruction: str) -> Message:
        return Stored(slab.rows["values"], slab.rows["positions"], int(slab.facts["visual"]))


KINDS: dict[str, Vision | KeysAndValues] = {"vision": Vision(), "kv": KeysAndValues()}
