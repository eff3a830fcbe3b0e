"""Muon in single precision: momentum whose steps are made orthogonal, for the matrices inside a network.

Torch has the same as `torch.optim.Muon`, in bfloat16. A processor without instructions for that format takes three
quarters of a pre-training step over it; in float32, with matrices of one shape together, it is a tenth.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
ITERATIONS = 5
# Of the polynomial that pulls singular values towards 1. Source: Keller Jordan's Muon; torch has the same.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal and scaled to the size that AdamW's steps have (0.2 root mean square)."""

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of every matrix that has a gradient: a tower may hold layers that nothing reads."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                alike[tuple(matrix.shape)].append((matrix, matrix.grad.lerp(momentum, MOMENTUM)))
            for shape, pairs in alike.items():
                size = 0.2 * max(shape) ** 0.5
                directions = orthogonal(torch.stack([update for _, update in pairs]))
                for (matrix, _), direction in zip(pairs, directions, strict=True):
                    matrix.mul_(1 - group["lr"] * WEIGHT_DECAY).sub_(direction, alpha=group["lr"] * size)


def orthogonal(matrices: Tensor) -> Tensor:
    """Each of the matrices (n, rows, columns) with all its singular values near 1, by Newton and Schulz's iteration."""
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC), wide, beta=LINEAR)
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT
