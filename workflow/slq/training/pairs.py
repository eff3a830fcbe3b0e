"""Image-caption pairs of a training split, in an order that seed and epoch decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from slq.caching.store import Store, image_message
from slq.datasets.prepared import Split
from slq.models.backbone import Backbone
from slq.models.prefix import Encoded, Message, Sums, encode, message, message_work

Work = dict[str, Sums]


@dataclass(frozen=True)
class Pair:
    """A caption and its image as messages, and the image's number in the split: several pairs show one image.

    image: None where the batch before has shown the same images, and their prefixes are still there
    """

    image: Message | None
    text: Encoded
    shown: int


class Again(int):
    """Number of a pair whose image the batch before has shown at the same place: its caption alone is wanted."""


class Pairs(Dataset):
    """Every caption of a split with its image; an epoch shows all pairs, or one of each image."""

    def __init__(
        self,
        backbone: Backbone,
        split: Split,
        prompt: dict[str, str],
        keep_pixels: bool,
        captions: str = "all",
        resident: bool = False,
        store: Store | None = None,
    ) -> None:
        """`captions`, of an image by epoch: all, one.

        Args:
            keep_pixels: hold processed images, or what `store` has of them, in memory.
            resident: a batch's images are shown in consecutive batches, with one caption after the other.
            store: what is kept of the images.
        """
        self.backbone, self.split, self.prompt = backbone, split, prompt
        self.one, self.resident, self.store = captions == "one", resident, store
        self.pairs = [(i, text) for i, item in enumerate(split.items) for text in item["captions"]]
        self.kept: dict[int, Message] | None = {} if keep_pixels else None

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return len(self.split.items) if self.one else len(self.pairs)

    def batches(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """Numbers of the pairs of an epoch's batches, decided by (seed, epoch)."""
        counts = np.array([len(item["captions"]) for item in self.split.items])
        if self.resident:
            return resident_order(counts, batch_size, seed, epoch)
        order = epoch_order(len(self), batch_size, seed, epoch)
        if not self.one:
            return order
        first = counts.cumsum() - counts
        drawn = first + np.random.default_rng([seed, epoch, 1]).integers(counts)
        return [drawn[batch].tolist() for batch in order]

    def requests(self, batches: list[list[int]]) -> list[list[int]]:
        """What to load for batches that follow each other: not again an image whose prefix is still there."""
        before: list[int] = []
        asked: list[list[int]] = []
        for batch in batches:
            shown = [self.pairs[number][0] for number in batch]
            asked.append(list(map(Again, batch)) if self.resident and shown == before else batch)
            before = shown
        return asked

    def __getitem__(self, number: int) -> Pair:
        shown, text = self.pairs[number]
        image = None if isinstance(number, Again) else self.image(shown)
        return Pair(image, encode(self.backbone, message(text, self.prompt["text"])), shown)

    def images(self, numbers: list[int], shown: int = 5) -> str:
        """For messages: ids of the images of a few pairs, with the split's name."""
        ids = [self.split.items[self.pairs[number][0]]["id"] for number in numbers[:shown]]
        more = f" and {len(numbers) - shown} more" if len(numbers) > shown else ""
        return f"{', '.join(map(str, ids))}{more} of {self.split.name}"

    def image(self, number: int) -> Message:
        """The message of an image, as the store has it or from its pixels."""
        if self.kept is not None and number in self.kept:
            return self.kept[number]
        found = image_message(self.backbone, self.split, number, self.prompt["image"], self.store)
        if self.kept is not None:
            self.kept[number] = found
        return found


def shown(training: dict[str, Any]) -> dict[str, Any]:
    """How `training` in config.yaml says that pairs are shown."""
    return {
        "keep_pixels": training["keep_pixels"],
        "captions": training["captions_per_image_per_epoch"],
        "resident": training["prefix"] == "resident",
    }


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of pair numbers: a permutation decided by (seed, epoch); a last, smaller batch is dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    full = count - count % batch_size
    return order[:full].reshape(-1, batch_size).tolist()


def resident_order(captions: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of pair numbers: each draws images once and shows them in consecutive batches, caption by caption.

    Images with as many captions form such blocks. The pairs of those that are left over make batches of their own, in
    any order; of these a last, smaller batch is dropped. Blocks and other batches are shuffled.

    Args:
        captions: how many each image has, (images,); their pairs are numbered in this order.
    """
    draw = np.random.default_rng([seed, epoch])
    first = captions.cumsum() - captions
    visits: list[list[list[int]]] = []
    left: list[int] = []
    for count in np.unique(captions):
        images = draw.permutation(np.flatnonzero(captions == count))
        full = len(images) - len(images) % batch_size
        for block in images[:full].reshape(-1, batch_size):
            order = draw.permuted(np.tile(np.arange(count), (batch_size, 1)), axis=1)  # of each image's captions
            visits.append((first[block][:, None] + order).T.tolist())
        left += [first[image] + caption for image in images[full:] for caption in range(count)]
    rest = draw.permutation(np.array(left, dtype=int))
    visits += [[batch.tolist()] for batch in rest[: len(rest) - len(rest) % batch_size].reshape(-1, batch_size)]
    return [batch for visit in draw.permutation(len(visits)) for batch in visits[visit]]


def pair_work(pairs: Sequence[Pair], before: Sums | None = None) -> Work:
    """What some pairs ask of a model: of their captions (`text`), and of their images by what is there of them.

    Args:
        before: of the images, where the batch before has shown them.
    """
    texts = message_work(pair.text for pair in pairs)
    images = [pair.image for pair in pairs if pair.image is not None]
    if images:
        return {"text": texts, images[0].state: message_work(images)}
    return {"text": texts, "kept": dict(before or message_work([]))}
