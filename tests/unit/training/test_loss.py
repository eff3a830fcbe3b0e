"""InfoNCE (van den Oord et al. 2018) in closed form, with and without an image's other pairs; the data's order."""

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from slq.datasets.splits import Split
from slq.training.loss import info_nce
from slq.training.pairs import shuffle_into_batches
from together import pairs_of


def test_equal_vectors_give_log_b():
    same = torch.ones(16, 4) / 2
    assert math.isclose(info_nce(same, same, torch.tensor(0.07)).item(), math.log(16), rel_tol=1e-6)


def test_orthogonal_pairs_in_closed_form():
    size, temperature = 8, 0.5
    vectors = torch.eye(size)
    expected = math.log(math.exp(1 / temperature) + size - 1) - 1 / temperature
    assert math.isclose(info_nce(vectors, vectors, torch.tensor(temperature)).item(), expected, rel_tol=1e-6)


def test_equals_a_loop_over_pairs():
    generator = torch.Generator().manual_seed(0)
    images, texts = (normalize(torch.randn(7, 5, generator=generator), dim=-1) for _ in range(2))
    total = 0.0
    for i in range(7):
        for rows, columns in ((images, texts), (texts, images)):
            scores = [float(rows[i] @ columns[j]) / 0.07 for j in range(7)]
            total += math.log(sum(math.exp(score) for score in scores)) - scores[i]
    assert math.isclose(info_nce(images, texts, torch.tensor(0.07)).item(), total / 14, rel_tol=1e-5)


TEMPERATURE = torch.tensor(0.3)
REPEATED = torch.tensor([4, 9, 4, 0, 9, 4])  # three pairs of one image, two of another, one alone


def vectors(count, seed=0):
    """Unit vectors of `count` images and captions, which require gradients."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [normalize(torch.randn(count, 5, generator=generator), dim=-1) for _ in range(2)]
    return [one.requires_grad_() for one in drawn]


def written_out(images, texts, temperature, shown):
    """Oracle: for each row and direction, a sum over the pair itself and the pairs of other images."""
    total = 0.0
    for i in range(len(shown)):
        for rows, columns in ((images, texts), (texts, images)):
            others = [j for j in range(len(shown)) if shown[j] != shown[i]]
            scores = {
                j: sum(a * b for a, b in zip(rows[i], columns[j], strict=True)) / temperature for j in [i, *others]
            }
            total += math.log(sum(math.exp(score) for score in scores.values())) - scores[i]
    return total / (2 * len(shown))


def test_without_the_other_pairs_of_an_image_it_equals_a_loop_over_what_is_left():
    images, texts = vectors(6)
    expected = written_out(images.tolist(), texts.tolist(), TEMPERATURE.item(), REPEATED.tolist())
    assert math.isclose(info_nce(images, texts, TEMPERATURE, REPEATED).item(), expected, rel_tol=1e-6)
    assert info_nce(images, texts, TEMPERATURE) - expected > 0.1


def test_the_logits_that_are_left_out_have_no_gradient_in_either_direction():
    """With the unit matrix as images, a caption's entry i is its logit with image i, up to the temperature."""
    images, texts = torch.eye(6), torch.zeros(6, 6, requires_grad=True)
    info_nce(images, texts, TEMPERATURE, REPEATED).backward()
    masked = (REPEATED[:, None] == REPEATED) & ~torch.eye(6, dtype=torch.bool)
    assert masked.sum() == 3 * 2 + 2 * 1
    assert torch.equal(texts.grad.T == 0, masked)


def as_in_the_paper(images, texts, temperature):
    """Symmetric InfoNCE in which every other pair is a negative."""
    logits, target = images @ texts.T / temperature, torch.arange(len(images))
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


@pytest.mark.parametrize("shown", [None, torch.arange(6)], ids=["off", "no image twice"])
def test_where_nothing_is_left_out_no_bit_changes(shown):
    results = []
    for loss in (partial(info_nce, image_indices=shown), as_in_the_paper):
        images, texts = vectors(6)
        temperature = TEMPERATURE.clone().requires_grad_()
        value = loss(images, texts, temperature)
        value.backward()
        results.append([value, images.grad, texts.grad, temperature.grad])
    assert all(torch.equal(ours, papers) for ours, papers in zip(*results, strict=True))


def test_a_batch_of_one_image_has_nothing_to_tell_apart():
    images, texts = vectors(6)
    loss = info_nce(images, texts, TEMPERATURE, torch.full((6,), 3))
    loss.backward()
    assert loss.item() == 0.0
    assert not images.grad.any() and not texts.grad.any()


def test_order_is_a_function_of_seed_and_epoch():
    first = shuffle_into_batches(103, 10, seed=1, epoch=0)
    assert first == shuffle_into_batches(103, 10, seed=1, epoch=0)
    assert first != shuffle_into_batches(103, 10, seed=1, epoch=1)
    assert first != shuffle_into_batches(103, 10, seed=2, epoch=0)
    drawn = [number for batch in first for number in batch]
    assert [len(batch) for batch in first] == [10] * 10
    assert len(set(drawn)) == 100 and set(drawn) <= set(range(103))


CAPTIONS = [5, 1, 6, 5, 2, 5, 5, 3]


@pytest.fixture
def pairs():
    """Function that makes pairs of images with one to six captions; nothing is embedded."""
    items = [{"image": str(n), "captions": [f"{n}.{k}" for k in range(count)]} for n, count in enumerate(CAPTIONS)]
    split = Split("s", items, Path(), "")
    return lambda sampling: pairs_of(None, split, {}, caption_sampling=sampling)


def test_an_epoch_of_one_caption_shows_each_image_once_with_a_caption_of_its_own(pairs):
    one = pairs("random_one")
    assert (len(one), len(pairs("all"))) == (8, sum(CAPTIONS))
    seen = set()
    for epoch in range(60):
        batches = one.epoch_batches(4, seed=1, epoch=epoch)
        assert batches == one.epoch_batches(4, seed=1, epoch=epoch) != one.epoch_batches(4, seed=2, epoch=epoch)
        shown = [one.pairs[number] for batch in batches for number in batch]
        assert sorted(image for image, _ in shown) == list(range(8))
        assert all(text.startswith(f"{image}.") for image, text in shown)
        seen |= {text for _, text in shown}
    assert len(seen) == sum(CAPTIONS), "in 60 epochs every caption has its turn"
    assert one.epoch_batches(3, seed=1, epoch=0) and len(one.epoch_batches(3, seed=1, epoch=0)) == 2


def test_an_epoch_of_all_captions_shows_each_pair_once(pairs):
    every = pairs("all")
    assert every.epoch_batches(8, 1, 0) == shuffle_into_batches(sum(CAPTIONS), 8, 1, 0)
    numbers = [number for batch in every.epoch_batches(8, 1, 0) for number in batch]
    assert sorted(numbers) == list(range(sum(CAPTIONS)))
