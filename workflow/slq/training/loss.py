"""Symmetric InfoNCE loss (van den Oord et al. 2018), in both directions as in CLIP (Radford et al. 2021)."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def info_nce(
    image_embeddings: Tensor, text_embeddings: Tensor, temperature: Tensor, image_indices: Tensor | None = None
) -> Tensor:
    """Compute symmetric InfoNCE with in-batch negatives, the loss of the SLQ paper and of its released code.

    The logits (B, B) are cosine similarities divided by the temperature, and the positives are on the diagonal. The
    loss is the mean of the image-to-text and text-to-image cross-entropies.

    Args:
        image_embeddings, text_embeddings: unit vectors (B, d) in float32; row i of both is a positive pair.
        temperature: a scalar that divides the similarities.
        image_indices: index of each pair's image (B,). If given, other pairs of the same image are not used as
            negatives: their logits are masked. By default they are negatives, as in the paper and its released code.
    """
    logits = image_embeddings @ text_embeddings.T / temperature
    if image_indices is not None:
        logits = logits + same_image_mask(image_indices)
    target = torch.arange(len(logits), device=logits.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def same_image_mask(image_indices: Tensor) -> Tensor:
    """Compute an additive mask (B, B) of logits: minus infinity where two different pairs have the same image, else 0.

    The mask is added, not filled in, because adding 0 leaves the gradients bit-for-bit unchanged if no image repeats.
    """
    same = (image_indices[:, None] == image_indices).fill_diagonal_(False)
    return torch.zeros(same.shape, device=image_indices.device).masked_fill(same, float("-inf"))
