"""Ranks and recalls compared with a plain loop, and with trec_eval."""

import platform
import sys
import time
import tracemalloc

import numpy as np
import pytest

from slq.common.errors import SlqError
from slq.evaluation.rank_table import RetrievalIds, build_rank_table
from slq.evaluation.ranks import (
    RECALL_KS,
    best_positive_ranks,
    compute_recalls,
    optimistic_ranks,
    rank_all_directions,
    rank_positives,
)
from slq.evaluation.statistics import recalls_by_direction


def naive_rank(query, gallery, positives, pessimistic=False):
    """1 + the number of non-positives more similar than the best positive; equal ones count too if pessimistic."""
    scores = [float(np.dot(query, item)) for item in gallery]
    best = max(score for score, positive in zip(scores, positives, strict=True) if positive)
    others = [score for score, positive in zip(scores, positives, strict=True) if not positive]
    return 1 + sum(score > best or (pessimistic and score == best) for score in others)


def naive_places(query, gallery, positives, pessimistic):
    """Places of the positives in a sorted list; among equals, positives are first or last, then gallery order."""
    scores = [float(np.dot(query, item)) for item in gallery]
    order = sorted(range(len(gallery)), key=lambda item: (-scores[item], positives[item] == pessimistic, item))
    return {item: place for place, item in enumerate(order, start=1) if positives[item]}


def small_set(seed):
    """Images, captions and each caption's image: 1 to 7 captions per image in any order, far fewer values than items.

    The values are integers in three dimensions: ties are frequent and exact in float32, and some pictures are equal.
    """
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 25))
    text_image = random.permutation(np.repeat(np.arange(count), random.integers(1, 8, count)))
    images = random.integers(-2, 3, (count, 3)).astype(np.float32)
    texts = random.integers(-2, 3, (len(text_image), 3)).astype(np.float32)
    return images, texts, text_image


def unit_vectors(random, *shape):
    vectors = random.normal(size=shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(20))
def test_ranks_equal_a_naive_loop(seed):
    images, texts, text_image = small_set(seed)
    ranks, numbers = rank_all_directions(images, texts, text_image), np.arange(len(images))
    for pessimistic in (False, True):
        found = {key: (one.pessimistic if pessimistic else one.optimistic).tolist() for key, one in ranks.items()}
        assert found["t2i"] == [
            naive_rank(text, images, numbers == image, pessimistic)
            for text, image in zip(texts, text_image, strict=True)
        ]
        assert found["i2t"] == [
            naive_rank(vector, texts, text_image == image, pessimistic) for image, vector in enumerate(images)
        ]
        for image, vector in enumerate(images):
            for caption, place in naive_places(vector, texts, text_image == image, pessimistic).items():
                assert found["i2t_strict"][caption] == place
    for direction, optimistic in optimistic_ranks(images, texts, text_image).items():
        assert optimistic.dtype == np.int32
        assert optimistic.tolist() == ranks[direction].optimistic.tolist()


def trec_eval(queries, gallery, query_image, gallery_image, pessimistic):
    """`success` and `recall` at each K by trec_eval, which puts the later of two names first where scores are equal."""
    import pytrec_eval

    first, last = ("a", "z") if pessimistic else ("z", "a")
    judged, scored = {}, {}
    for number, (query, image) in enumerate(zip(queries, query_image, strict=True)):
        names = [f"{first if other == image else last}{item}" for item, other in enumerate(gallery_image)]
        judged[str(number)] = {name: int(name.startswith(first)) for name in names}
        scored[str(number)] = dict(zip(names, (gallery @ query).tolist(), strict=True))
    cut = ",".join(map(str, RECALL_KS))
    rows = pytrec_eval.RelevanceEvaluator(judged, {f"success.{cut}", f"recall.{cut}"}).evaluate(scored).values()
    return [
        {f"R@{k}": pytest.approx(100 * np.mean([row[f"{measure}_{k}"] for row in rows])) for k in RECALL_KS}
        for measure in ("success", "recall")
    ]


@pytest.mark.skipif(
    sys.platform == "linux" and platform.machine() != "x86_64", reason="trec_eval is not installed here (envs)"
)
@pytest.mark.parametrize("seed", range(200))
def test_recalls_equal_trec_eval(seed):
    """Any positive counts for success, each positive for recall; K is often larger than the dataset."""
    images, texts, text_image = small_set(1000 + seed)
    numbers = np.arange(len(images))
    names = RetrievalIds([f"i{n}" for n in numbers], [f"c{n}" for n in range(len(texts))], text_image)
    table = build_rank_table(names, rank_all_directions(images, texts, text_image))
    for column, pessimistic in (("rank", False), ("rank_pessimistic", True)):
        found = recalls_by_direction(table, column)
        success, recall = trec_eval(images, texts, numbers, text_image, pessimistic)
        assert found["i2t"] == success and found["i2t_strict"] == recall
        success, recall = trec_eval(texts, images, text_image, numbers, pessimistic)
        assert found["t2i"] == success == recall
    for direction, ranks in optimistic_ranks(images, texts, text_image).items():
        assert compute_recalls(ranks) == recalls_by_direction(table)[direction]


def test_more_queries_than_a_block():
    random = np.random.default_rng(0)
    images = random.normal(size=(600, 8)).astype(np.float32)
    numbers = np.arange(600)
    ranks = best_positive_ranks(images, images, numbers, numbers)
    assert ranks.dtype == np.int32
    norms = (images**2).sum(1)
    expected = [1 + int((images @ image > norm).sum()) for image, norm in zip(images, norms, strict=True)]
    assert np.abs(ranks - expected).max() <= 1  # a blocked product may round a tie the other way


def test_equal_vectors_tie_whatever_the_block():
    """257 queries are one more than a block; the last query, too, ties with all 746 copies of its positive."""
    random = np.random.default_rng(0)
    items = unit_vectors(random, 257, 896)
    gallery = np.concatenate([items, np.repeat(items[-1:], 746, axis=0)])
    ranks = rank_positives(
        unit_vectors(random, 257, 896), gallery, np.arange(257), np.arange(len(gallery))
    ).best_per_query()
    assert (ranks.pessimistic - ranks.optimistic).tolist() == [0] * 256 + [746]


def test_recalls_count_ranks_within_k():
    assert compute_recalls(np.array([1, 2, 5, 6, 10, 11, 1, 100])) == {"R@1": 25.0, "R@5": 50.0, "R@10": 75.0}


def test_any_caption_of_an_image_is_a_hit():
    images = np.eye(2, dtype=np.float32)
    texts = np.array([[0, 1], [1, 0], [0, 1]], dtype=np.float32)  # image 0's first caption points at image 1
    ranks = rank_all_directions(images, texts, np.array([0, 0, 1]))
    assert ranks["i2t"].optimistic.tolist() == [1, 1]
    assert ranks["i2t"].pessimistic.tolist() == [1, 2]
    # Image 0's list: caption 1, then 0 and 2, which are equal. Image 1's: 0 and 2, then 1.
    assert ranks["i2t_strict"].optimistic.tolist() == [2, 1, 1]
    assert ranks["i2t_strict"].pessimistic.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_embeddings": np.zeros((0, 2), np.float32), "caption_to_image": np.zeros(0, int)}, "no query to rank"),
        (
            {"text_embeddings": np.zeros((0, 2), np.float32), "caption_to_image": np.zeros(0, int)},
            "no item of the gallery to rank",
        ),
        ({"caption_to_image": np.array([0, 0, 0])}, r"query 1 has no positive in the gallery \(1 such queries\)"),
        (
            {"text_embeddings": np.array([[1, 0], [np.nan, 0], [0, 1]], np.float32)},
            "item of the gallery 1 is not finite",
        ),
        ({"image_embeddings": np.ones((2, 2), np.float16)}, "float16, expected float32 or float64"),
    ],
    ids=["no images", "no captions", "an image without captions", "not a number", "half precision"],
)
def test_what_cannot_be_ranked_is_said(change, message):
    whole = {
        "image_embeddings": np.eye(2, dtype=np.float32),
        "text_embeddings": np.ones((3, 2), np.float32),
        "caption_to_image": [0, 0, 1],
    }
    with pytest.raises(SlqError, match=message):
        rank_all_directions(**(whole | change))


def test_no_ranks_have_no_recall():
    with pytest.raises(SlqError, match="at least one query"):
        compute_recalls(np.array([], dtype=np.int32))


@pytest.fixture(scope="module")
def coco_sized():
    """As many images and captions as in COCO's test set, with the ten further captions at the end."""
    random = np.random.default_rng(0)
    text_image = np.concatenate([np.repeat(np.arange(5000), 5), np.arange(10)])
    return unit_vectors(random, 5000, 64), unit_vectors(random, 25_010, 64), text_image


def test_coco_takes_seconds_and_little_memory(coco_sized):
    """The limits are 30 s of CPU time and 2 GiB; about 3 s and 0.1 GiB are used."""
    tracemalloc.start()
    began = time.process_time()
    rank_all_directions(*coco_sized)
    taken, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 30 and peak < 2 * 2**30


def test_cost_is_linear_in_queries(coco_sized):
    images, texts, text_image = coco_sized

    def seconds(count):
        taken = []
        for _ in range(5):
            began = time.process_time()
            best_positive_ranks(texts[:count], images, text_image[:count], np.arange(len(images)))
            taken.append(time.process_time() - began)
        return min(taken)

    assert 1.5 < seconds(12_000) / seconds(6_000) < 2.6
