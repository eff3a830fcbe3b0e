"""The best epoch of a run, judged on val."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

Recalls = dict[str, dict[str, float]]


@dataclass
class Best:
    """The trained tensors after the epoch with the highest sum of recalls on val."""

    total: float = -1.0
    epoch: int = 0
    tensors: list[Tensor] = field(default_factory=list)

    def offer(self, tensors: list[Tensor], recalls: Recalls, epoch: int) -> None:
        """Copy the tensors if they are better than any before; the earlier epoch wins a tie."""
        if sum_of_recalls(recalls) > self.total:
            self.total, self.epoch = sum_of_recalls(recalls), epoch
            self.tensors = [tensor.detach().clone() for tensor in tensors]

    def restore(self, tensors: list[Tensor]) -> int:
        """Put the best tensors back and return their epoch."""
        with torch.no_grad():
            for tensor, kept in zip(tensors, self.tensors, strict=True):
                tensor.copy_(kept)
        return self.epoch


def sum_of_recalls(recalls: Recalls) -> float:
    """R@1, R@5 and R@10 of both directions, added up: what epochs and rates are judged by on val."""
    return sum(value for direction in recalls.values() for value in direction.values())
