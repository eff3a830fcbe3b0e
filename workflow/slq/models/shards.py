"""Tensors of which each process of a run may hold a part (training/sharding.py)."""

from collections.abc import Mapping

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(tensor: Tensor) -> bool:
    return isinstance(tensor, DTensor)


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds; a tensor that is not sharded as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, without gradient, on the CPU; of a sharded one all processes call it at the same place."""
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).cpu()


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Each of them whole, in a process that wants to `keep` them; the others take part, and hold one at a time."""
    each = ((name, whole(tensor).contiguous()) for name, tensor in tensors.items())
    return {name: tensor for name, tensor in each if keep}


def spread_like(tensor: Tensor, example: Tensor) -> Tensor:
    """A whole tensor, which every process has, in parts as the example of its shape is."""
    if not isinstance(example, DTensor) or tensor.shape != example.shape:
        return tensor
    return distribute_tensor(tensor.to(example.device), example.device_mesh, example.placements, src_data_rank=None)
