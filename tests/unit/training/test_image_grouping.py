"""Resident image prefixes in a batch: the order of an epoch, and the same learning as with images encoded each time."""

import itertools
from collections import Counter

import numpy as np
import pytest

from slq.common.files import read_jsonl
from slq.datasets.splits import read_split
from slq.models.prefix import count_tokens
from slq.training.pairs import PairDataset, ReuseImage, count_pair_tokens, group_batches_by_image
from together import pairs_of

PROMPT = {"text": "", "image": ""}


def blocks(batches, shown):
    return [list(block) for _, block in itertools.groupby(batches, key=lambda batch: [shown[pair] for pair in batch])]


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_of_residents_visits_every_pair_once(epoch):
    """Of 50 images with five captions, 9 with six and 3 with seven, each pair occurs once, except less than a batch."""
    counts = np.random.default_rng(0).permutation([5] * 50 + [6] * 9 + [7] * 3)
    shown = np.repeat(np.arange(len(counts)), counts)
    batches = group_batches_by_image(counts, 8, 1, epoch)
    seen = Counter(pair for batch in batches for pair in batch)
    assert set(seen.values()) == {1} and counts.sum() - len(seen) < 8
    assert all(len(batch) == 8 for batch in batches)
    found = blocks(batches, shown)
    assert sorted(map(len, found), reverse=True)[:7] == [6] + [5] * 6
    assert batches == group_batches_by_image(counts, 8, 1, epoch) != group_batches_by_image(counts, 8, 2, epoch)


def test_an_image_that_stays_is_loaded_once_and_counted_as_kept(slice_):
    split = read_split(slice_.data, "mini-coco", "train")
    backbone, _ = slice_.load("slq")
    pairs = pairs_of(backbone, split, PROMPT, group_by_image=True)
    batches = pairs.epoch_batches(16, 1, 0)[:10]
    asked = pairs.mark_reused_images(batches)
    again = [[isinstance(number, ReuseImage) for number in batch] for batch in asked]
    assert [all(batch) for batch in again] == [False, True, True, True, True] * 2
    assert not any(any(batch) for batch in again[::5])
    assert pairs.mark_reused_images(batches[2:])[0] == batches[2] and not isinstance(
        pairs.mark_reused_images(batches[2:])[0][0], ReuseImage
    )
    first, second = ([pairs[number] for number in batch] for batch in asked[:2])
    assert all(pair.image is None for pair in second) and [a.image_index for a in first] == [
        b.image_index for b in second
    ]
    work = count_pair_tokens(first, {})
    assert count_pair_tokens(second, work) == {
        "text": count_tokens(pair.text for pair in second),
        "kv": work["image"],
    }


def test_residents_learn_what_the_same_order_learns_with_each_image_anew(slice_, monkeypatch):
    slice_.train("slq", "grouped", {"image_cache": "batch"})
    monkeypatch.setattr(PairDataset, "mark_reused_images", lambda self, batches: batches)
    slice_.train("slq", "anew_in_order", {"image_cache": "batch"})
    names = ("grouped", "anew_in_order")
    tensors = [(slice_.root / name / "adapter/adapter.safetensors").read_bytes() for name in names]
    assert tensors[0] == tensors[1]
    works = [{state for line in read_jsonl(slice_.root / name / "events.jsonl") if line["event"] == "step"
              for state in line["token_counts"]} for name in names]  # fmt: skip
    assert works == [{"text", "image", "kv"}, {"text", "image"}]
