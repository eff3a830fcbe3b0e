"""What messages ask of a model, in sums from which FLOPs follow (accounting/flops.py): their own tokens, no padding."""

from collections.abc import Iterable

from slq.models.family import FEATURES
from slq.models.prefix import Message, Stored

Sums = dict[str, int]


def message_work(messages: Iterable[Message]) -> Sums:
    """Messages, their tokens and squares of tokens, and of their images tokens and squares of tokens."""
    sums = dict.fromkeys(("messages", "tokens", "squares", "visual", "visual_squares"), 0)
    for message in messages:
        length, images = _sizes(message)
        sums["messages"] += 1
        sums["tokens"] += length
        sums["squares"] += length**2
        sums["visual"] += sum(images)
        sums["visual_squares"] += sum(image**2 for image in images)
    return sums


def state(message: Message) -> str:
    """What of an image's message is there already: nothing (`image`), its features (`seen`), all of it (`kept`)."""
    if isinstance(message, Stored):
        return "kept"
    return "seen" if any(FEATURES in image.tensors for image in message.images) else "image"


def _sizes(message: Message) -> tuple[int, list[int]]:
    """Tokens of a message, and of each of its images."""
    if isinstance(message, Stored):
        return len(message.values), [message.visual]
    return len(message.ids), [image.tokens for image in message.images]
