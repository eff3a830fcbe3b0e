"""Image-caption pairs of a training split, in an order that seed and epoch decide."""

from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from slq.data.prepared import Split
from slq.models.backbone import Backbone
from slq.models.family import Pixels
from slq.models.prefix import Encoded, encode, message


@dataclass(frozen=True)
class Pair:
    """A caption and its image as messages, and the image's number in the split: several pairs show one image."""

    image: Encoded
    text: Encoded
    shown: int


class Pairs(Dataset):
    """Every caption of a split with its image."""

    def __init__(self, backbone: Backbone, split: Split, prompt: dict[str, str], keep_pixels: bool) -> None:
        """`keep_pixels` holds processed images in memory once they have been read."""
        self.backbone, self.split, self.prompt = backbone, split, prompt
        self.pairs = [(i, text) for i, item in enumerate(split.items) for text in item["captions"]]
        self.kept: dict[int, Pixels] | None = {} if keep_pixels else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        shown, text = self.pairs[index]
        return Pair(
            encode(self.backbone, message(self.pixels(shown), self.prompt["image"])),
            encode(self.backbone, message(text, self.prompt["text"])),
            shown,
        )

    def images(self, numbers: list[int], shown: int = 5) -> str:
        """For messages: ids of the images of a few pairs, with the split's name."""
        ids = [self.split.items[self.pairs[number][0]]["id"] for number in numbers[:shown]]
        more = f" and {len(numbers) - shown} more" if len(numbers) > shown else ""
        return f"{', '.join(map(str, ids))}{more} of {self.split.name}"

    def pixels(self, index: int) -> Pixels:
        if self.kept is not None and index in self.kept:
            return self.kept[index]
        pixels = self.backbone.family.process(self.split.open(self.split.items[index]["image"]))
        if self.kept is not None:
            self.kept[index] = pixels
        return pixels


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of pair numbers: a permutation decided by (seed, epoch); a last, smaller batch is dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    full = count - count % batch_size
    return order[:full].reshape(-1, batch_size).tolist()
