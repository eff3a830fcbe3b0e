"""Image-caption pairs of a training split, in an order that seed and epoch decide."""

from dataclasses import dataclass
from typing import Any

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
    """Every caption of a split with its image; an epoch shows all pairs, or one of each image."""

    def __init__(
        self, backbone: Backbone, split: Split, prompt: dict[str, str], keep_pixels: bool, captions: str = "all"
    ) -> None:
        """`keep_pixels` holds processed images in memory; `captions`, of an image by epoch: all, one."""
        self.backbone, self.split, self.prompt = backbone, split, prompt
        self.one = captions == "one"
        self.pairs = [(i, text) for i, item in enumerate(split.items) for text in item["captions"]]
        self.kept: dict[int, Pixels] | None = {} if keep_pixels else None

    def __len__(self) -> int:
        """Pairs of an epoch."""
        return len(self.split.items) if self.one else len(self.pairs)

    def batches(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """Numbers of the pairs of an epoch's batches, decided by (seed, epoch)."""
        order = epoch_order(len(self), batch_size, seed, epoch)
        if not self.one:
            return order
        counts = np.array([len(item["captions"]) for item in self.split.items])
        first = counts.cumsum() - counts
        drawn = first + np.random.default_rng([seed, epoch, 1]).integers(counts)
        return [drawn[batch].tolist() for batch in order]

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


def shown(training: dict[str, Any]) -> dict[str, Any]:
    """How `training` in config.yaml says that pairs are shown."""
    return {"keep_pixels": training["keep_pixels"], "captions": training["captions_per_image_per_epoch"]}


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of pair numbers: a permutation decided by (seed, epoch); a last, smaller batch is dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    full = count - count % batch_size
    return order[:full].reshape(-1, batch_size).tolist()
