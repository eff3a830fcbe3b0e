"""What a batch asks of a model, in sums from which FLOPs follow (accounting/flops.py): its own tokens, no padding."""

from collections.abc import Iterable

from slq.models.prefix import Encoded
from slq.training.pairs import Pair

Sums = dict[str, int]
Work = dict[str, Sums]


def pair_work(batch: Iterable[Pair]) -> Work:
    """Of the images and of the captions of some pairs."""
    pairs = list(batch)
    return {"image": message_work(pair.image for pair in pairs), "text": message_work(pair.text for pair in pairs)}


def message_work(messages: Iterable[Encoded]) -> Sums:
    """Messages, their tokens and squares of tokens, and of their images tokens and squares of tokens."""
    sums = dict.fromkeys(("messages", "tokens", "squares", "visual", "visual_squares"), 0)
    for message in messages:
        sums["messages"] += 1
        sums["tokens"] += len(message.ids)
        sums["squares"] += len(message.ids) ** 2
        for image in message.images:
            sums["visual"] += image.tokens
            sums["visual_squares"] += image.tokens**2
    return sums
