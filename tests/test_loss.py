"""InfoNCE in closed form, and the order of the data."""

import math

import torch

from slq.training.loss import info_nce
from slq.training.pairs import epoch_order


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
    images, texts = (torch.nn.functional.normalize(torch.randn(7, 5, generator=generator), dim=-1) for _ in range(2))
    total = 0.0
    for i in range(7):
        for rows, columns in ((images, texts), (texts, images)):
            scores = [float(rows[i] @ columns[j]) / 0.07 for j in range(7)]
            total += math.log(sum(math.exp(score) for score in scores)) - scores[i]
    assert math.isclose(info_nce(images, texts, torch.tensor(0.07)).item(), total / 14, rel_tol=1e-5)


def test_order_is_a_function_of_seed_and_epoch():
    first = epoch_order(103, 10, seed=1, epoch=0)
    assert first == epoch_order(103, 10, seed=1, epoch=0)
    assert first != epoch_order(103, 10, seed=1, epoch=1)
    assert first != epoch_order(103, 10, seed=2, epoch=0)
    drawn = [number for batch in first for number in batch]
    assert [len(batch) for batch in first] == [10] * 10
    assert len(set(drawn)) == 100 and set(drawn) <= set(range(103))
