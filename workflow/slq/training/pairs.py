"""Image-caption pairs of a training split, in batches whose order is determined by seed and epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from slq.caching.feature_cache import FeatureCache, load_image_message
from slq.datasets.splits import Split
from slq.models.backbone import Backbone
from slq.models.prefix import Message, TokenCounts, TokenizedMessage, count_tokens, message_parts, tokenize_message

NUM_NAMED_IMAGES = 5  # number of a batch's images that an error message names
TokenCountsByInput = dict[str, TokenCounts]


@dataclass(frozen=True)
class Pair:
    """A positive pair: a caption and its image, as messages. Several pairs may have the same image.

    Attributes:
        image: the image's message; None if the previous batch had the same images, whose prefixes are still in memory.
        text: the caption's message.
        image_index: index of the image in the split.
    """

    image: Message | None
    text: TokenizedMessage
    image_index: int


class ReuseImage(int):
    """Index of a pair whose image was in the same row of the previous batch, so that only the caption is loaded."""


class PairDataset(Dataset):
    """All image-caption pairs of a split; an epoch contains every pair, or one pair per image."""

    def __init__(
        self,
        backbone: Backbone,
        split: Split,
        prompt: dict[str, str],
        cache_images_in_memory: bool,
        caption_sampling: str,
        group_by_image: bool,
        feature_cache: FeatureCache | None,
    ) -> None:
        """List the pairs of a split.

        Args:
            cache_images_in_memory: whether to keep preprocessed images, or their data from `feature_cache`, in memory.
            caption_sampling: captions per image in an epoch: `all` or `random_one`.
            group_by_image: whether consecutive batches contain the same images, each time with other captions.
            feature_cache: cached data of the images, or None.
        """
        self.backbone, self.split, self.prompt = backbone, split, prompt
        self.one_caption_per_image = caption_sampling == "random_one"
        self.group_by_image, self.feature_cache = group_by_image, feature_cache
        self.pairs = [(i, text) for i, item in enumerate(split.items) for text in item["captions"]]
        self.cached_messages: dict[int, Message] | None = {} if cache_images_in_memory else None

    def __len__(self) -> int:
        """Return the number of pairs per epoch."""
        return len(self.split.items) if self.one_caption_per_image else len(self.pairs)

    def epoch_batches(self, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
        """Return the pair indices of an epoch's batches, determined by (seed, epoch)."""
        counts = np.array([len(item["captions"]) for item in self.split.items])
        if self.group_by_image:
            return group_batches_by_image(counts, batch_size, seed, epoch)
        order = shuffle_into_batches(len(self), batch_size, seed, epoch)
        if not self.one_caption_per_image:
            return order
        first_pair = counts.cumsum() - counts
        drawn = first_pair + np.random.default_rng([seed, epoch, 1]).integers(counts)
        return [drawn[batch].tolist() for batch in order]

    def mark_reused_images(self, batches: list[list[int]]) -> list[list[int]]:
        """Mark batches with the same images as the previous batch, whose prefixes are still in memory.

        The indices of such a batch become ReuseImage, so that its images are not loaded again.
        """
        previous_images: list[int] = []
        batches_to_load: list[list[int]] = []
        for batch in batches:
            image_indices = [self.pairs[number][0] for number in batch]
            batches_to_load.append(
                list(map(ReuseImage, batch)) if self.group_by_image and image_indices == previous_images else batch
            )
            previous_images = image_indices
        return batches_to_load

    def __getitem__(self, number: int) -> Pair:
        """Load one pair, without its image if the index is a ReuseImage."""
        image_index, text = self.pairs[number]
        image = None if isinstance(number, ReuseImage) else self.get_image_message(image_index)
        return Pair(image, tokenize_message(self.backbone, message_parts(text, self.prompt["text"])), image_index)

    def describe_images(self, pair_indices: list[int]) -> str:
        """Describe the images of some pairs for a message: the ids of the first few, and the split's name."""
        ids = [self.split.items[self.pairs[number][0]]["id"] for number in pair_indices[:NUM_NAMED_IMAGES]]
        num_others = len(pair_indices) - len(ids)
        more = f" and {num_others} more" if num_others else ""
        return f"{', '.join(map(str, ids))}{more} of {self.split.name}"

    def get_image_message(self, image_index: int) -> Message:
        """Return an image's message, from memory, from the feature cache, or from the image file."""
        if self.cached_messages is not None and image_index in self.cached_messages:
            return self.cached_messages[image_index]
        found = load_image_message(self.backbone, self.split, image_index, self.prompt["image"], self.feature_cache)
        if self.cached_messages is not None:
            self.cached_messages[image_index] = found
        return found


def shuffle_into_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffle pair indices into batches, determined by (seed, epoch); an incomplete last batch is dropped."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    full = count - count % batch_size
    return order[:full].reshape(-1, batch_size).tolist()


def group_batches_by_image(caption_counts: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Shuffle pair indices into batches such that consecutive batches contain the same images with other captions.

    A block consists of `batch_size` images with equal numbers of captions, in one batch per caption. The pairs of the
    remaining images are shuffled into separate batches, of which an incomplete last one is dropped. Finally, blocks and
    separate batches are shuffled.

    Args:
        caption_counts: number of captions per image (images,). Pairs are numbered image by image, in this order.
    """
    generator = np.random.default_rng([seed, epoch])
    first_pair = caption_counts.cumsum() - caption_counts
    blocks: list[list[list[int]]] = []
    leftover_pairs: list[int] = []
    for count in np.unique(caption_counts):
        images = generator.permutation(np.flatnonzero(caption_counts == count))
        full = len(images) - len(images) % batch_size
        for block in images[:full].reshape(-1, batch_size):
            order = generator.permuted(np.tile(np.arange(count), (batch_size, 1)), axis=1)  # captions of each image
            blocks.append((first_pair[block][:, None] + order).T.tolist())
        leftover_pairs += [first_pair[image] + caption for image in images[full:] for caption in range(count)]
    shuffled_leftovers = generator.permutation(np.array(leftover_pairs, dtype=int))
    blocks += [
        [batch.tolist()]
        for batch in shuffled_leftovers[: len(shuffled_leftovers) - len(shuffled_leftovers) % batch_size].reshape(
            -1, batch_size
        )
    ]
    return [batch for visit in generator.permutation(len(blocks)) for batch in blocks[visit]]


def count_pair_tokens(pairs: Sequence[Pair], previous: TokenCountsByInput) -> TokenCountsByInput:
    """Count the tokens of pairs: captions under `text`, images under their cache level (`slq.models.prefix`).

    Args:
        previous: counts of the previous batch. If the pairs come without images, the images are the previous batch's.
    """
    texts = count_tokens(pair.text for pair in pairs)
    images = [pair.image for pair in pairs if pair.image is not None]
    if images:
        return {"text": texts, images[0].cache_level: count_tokens(images)}
    (image_counts,) = (counts for cache_level, counts in previous.items() if cache_level != "text")
    return {"text": texts, "kv": image_counts}
