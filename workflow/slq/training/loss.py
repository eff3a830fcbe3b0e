"""Symmetric InfoNCE."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(images: Tensor, texts: Tensor, temperature: Tensor) -> Tensor:
    """Mean of both directions' cross-entropies against the diagonal (paper; released code).

    Args:
        images, texts: unit vectors (B, d) in float32; row i of both is a pair.
        temperature: a scalar that divides the similarities.
    """
    logits = images @ texts.T / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
