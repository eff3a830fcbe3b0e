"""The symmetric InfoNCE loss."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(
    image_embeddings: Tensor, text_embeddings: Tensor, temperature: Tensor, image_indices: Tensor | None = None
) -> Tensor:
    """Compute symmetric InfoNCE: the mean of both directions' cross-entropies against the diagonal.

    This is the loss of the paper and of its released code.

    Args:
        image_embeddings, text_embeddings: unit vectors (B, d) in float32; row i of both is a pair.
        temperature: a scalar by which similarities are divided.
        image_indices: index of the image (B,) of each pair; if given, other pairs of the same image are no negatives:
            their logits are masked. Without it they are negatives, as in the paper and its released code.
    """
    logits = image_embeddings @ text_embeddings.T / temperature
    if image_indices is not None:
        logits = logits + same_image_mask(image_indices)
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def same_image_mask(image_indices: Tensor) -> Tensor:
    """Compute a mask to add to logits (B, B): minus infinity where two different pairs have the same image, else 0.

    It is added, because a sum leaves the gradients bit for bit the same where no image occurs twice.
    """
    same = (image_indices[:, None] == image_indices).fill_diagonal_(False)
    return torch.zeros(same.shape, device=image_indices.device).masked_fill(same, float("-inf"))
