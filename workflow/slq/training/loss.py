"""Symmetric InfoNCE."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(
    image_embeddings: Tensor, text_embeddings: Tensor, temperature: Tensor, image_indices: Tensor | None = None
) -> Tensor:
    """Mean of both directions' cross-entropies against the diagonal (paper; released code).

    Args:
        image_embeddings, text_embeddings: unit vectors (B, d) in float32; row i of both is a pair.
        temperature: a scalar that divides the similarities.
        image_indices: number of the image (B,) that each pair shows; where it is given, the other pairs of the same
            image are no negatives: their logits are left out. Without it they are negatives (paper; released code).
    """
    logits = image_embeddings @ text_embeddings.T / temperature
    if image_indices is not None:
        logits = logits + same_image_mask(image_indices)
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def same_image_mask(image_indices: Tensor) -> Tensor:
    """What is added to logits (B, B): minus infinity where two different pairs show one image, else 0.

    A sum, because it leaves the gradients' bits alone where no image occurs twice.
    """
    same = (image_indices[:, None] == image_indices).fill_diagonal_(False)
    return torch.zeros(same.shape, device=image_indices.device).masked_fill(same, float("-inf"))
