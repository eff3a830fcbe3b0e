"""Muon in pre-training compared with torch's own, in single precision."""

import torch
from torch import nn

from slq.synthetic.pretraining import Muon, orthogonalize

SHAPES = [(48, 48), (32, 64), (64, 32), (48, 48)]


def test_equals_torchs_own_up_to_its_rounding() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(matrix.detach().clone()) for matrix in ours]
    own = Muon(ours, lr=0.02)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    start = [matrix.detach().clone() for matrix in ours]
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        own.step()
        reference.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        # bfloat16 has 8 bits; the iteration multiplies fifteen times.
        assert (mine - other).norm() < 0.03 * (mine - before).norm()


def test_a_direction_keeps_its_singular_vectors_and_loses_its_singular_values() -> None:
    torch.manual_seed(1)
    matrices = torch.randn(3, 40, 24, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    directions = orthogonalize(matrices)
    changed = torch.linalg.svdvals(directions)
    assert values.max() / values.min() > 5
    assert changed.min() > 0.6 and changed.max() < 1.25
    # The polynomial acts on the singular values only.
    inside = left.mT @ directions @ right.mT
    assert torch.allclose(inside, torch.diag_embed(torch.diagonal(inside, dim1=1, dim2=2)), atol=1e-6)
