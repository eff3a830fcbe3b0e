"""Ranks and recalls against a loop that anyone can read."""

import numpy as np
import pytest

from slq.evaluation.ranks import best_ranks, both_directions, recalls


def naive_rank(query, gallery, positives):
    """1 + the number of non-positives more similar than the best positive."""
    scores = [float(np.dot(query, item)) for item in gallery]
    best = max(score for score, positive in zip(scores, positives, strict=True) if positive)
    return 1 + sum(score > best for score, positive in zip(scores, positives, strict=True) if not positive)


@pytest.mark.parametrize("seed", range(20))
def test_ranks_equal_a_naive_loop(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 40))
    captions = random.integers(1, 8, count)  # 1 to 7 captions an image
    text_image = np.repeat(np.arange(count), captions)
    # few distinct values in few dimensions: ties are frequent, and exact in float32
    images = random.integers(-2, 3, (count, 3)).astype(np.float32)
    texts = random.integers(-2, 3, (len(text_image), 3)).astype(np.float32)
    ranks = both_directions(images, texts, text_image)
    for query, image in enumerate(text_image):
        assert ranks["t2i"][query] == naive_rank(texts[query], images, np.arange(count) == image)
    for image in range(count):
        assert ranks["i2t"][image] == naive_rank(images[image], texts, text_image == image)


def test_more_queries_than_a_block():
    random = np.random.default_rng(0)
    images = random.normal(size=(600, 8)).astype(np.float32)
    numbers = np.arange(600)
    ranks = best_ranks(images, images, numbers, numbers)
    assert ranks.dtype == np.int32
    norms = (images**2).sum(1)
    expected = [1 + int((images @ image > norm).sum()) for image, norm in zip(images, norms, strict=True)]
    assert np.abs(ranks - expected).max() <= 1  # a blocked product may round a tie the other way


def test_recalls_count_ranks_within_k():
    assert recalls(np.array([1, 2, 5, 6, 10, 11, 1, 100])) == {"R@1": 25.0, "R@5": 50.0, "R@10": 75.0}


def test_any_caption_of_an_image_is_a_hit():
    images = np.eye(2, dtype=np.float32)
    texts = np.array([[0, 1], [1, 0], [0, 1]], dtype=np.float32)  # image 0's first caption points at image 1
    assert both_directions(images, texts, np.array([0, 0, 1]))["i2t"].tolist() == [1, 1]
