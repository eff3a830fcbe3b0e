"""A batch's image prefixes that stay: the order of an epoch, and the same learning as with each image anew."""

import itertools
from collections import Counter

import numpy as np
import pytest

from slq.common.files import read_lines
from slq.datasets.prepared import read_split
from slq.training.pairs import Again, Pairs, pair_work, resident_order

PROMPT = {"text": "", "image": ""}


def blocks(batches, shown):
    return [list(block) for _, block in itertools.groupby(batches, key=lambda batch: [shown[pair] for pair in batch])]


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_of_residents_visits_every_pair_once(epoch):
    """Of 50 images with five captions, 9 with six, 3 with seven: all but less than a batch, each once."""
    counts = np.random.default_rng(0).permutation([5] * 50 + [6] * 9 + [7] * 3)
    shown = np.repeat(np.arange(len(counts)), counts)
    batches = resident_order(counts, 8, 1, epoch)
    seen = Counter(pair for batch in batches for pair in batch)
    assert set(seen.values()) == {1} and counts.sum() - len(seen) < 8
    assert all(len(batch) == 8 for batch in batches)
    found = blocks(batches, shown)
    assert sorted(map(len, found), reverse=True)[:7] == [6] + [5] * 6
    assert batches == resident_order(counts, 8, 1, epoch) != resident_order(counts, 8, 2, epoch)


def test_an_image_that_stays_is_loaded_once_and_counted_as_kept(slice_):
    split = read_split(slice_.data, "mini-coco", "train")
    backbone, _ = slice_.load("slq")
    pairs = Pairs(backbone, split, PROMPT, keep_pixels=False, resident=True)
    batches = pairs.batches(16, 1, 0)[:10]
    asked = pairs.requests(batches)
    again = [[isinstance(number, Again) for number in batch] for batch in asked]
    assert [all(batch) for batch in again] == [False, True, True, True, True] * 2
    assert not any(any(batch) for batch in again[::5])
    assert pairs.requests(batches[2:])[0] == batches[2] and not isinstance(pairs.requests(batches[2:])[0][0], Again)
    first, second = ([pairs[number] for number in batch] for batch in asked[:2])
    assert all(pair.image is None for pair in second) and [a.shown for a in first] == [b.shown for b in second]
    work = pair_work(first)
    assert pair_work(second, work["image"]) == {"text": pair_work(second)["text"], "kept": work["image"]}


def test_residents_learn_what_the_same_order_learns_with_each_image_anew(slice_, monkeypatch):
    slice_.train("slq", "resident", {"prefix": "resident"})
    monkeypatch.setattr(Pairs, "requests", lambda self, batches: batches)
    slice_.train("slq", "anew_in_order", {"prefix": "resident"})
    names = ("resident", "anew_in_order")
    tensors = [(slice_.root / name / "adapter/adapter.safetensors").read_bytes() for name in names]
    assert tensors[0] == tensors[1]
    works = [{state for line in read_lines(slice_.root / name / "events.jsonl") if line["event"] == "step"
              for state in line["work"]} for name in names]  # fmt: skip
    assert works == [{"text", "image", "kept"}, {"text", "image"}]
