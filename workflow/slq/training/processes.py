"""The processes that train a run together: one, unless a launcher started more."""

from collections.abc import Iterable

import torch
import torch.distributed
from accelerate import PartialState
from torch import Tensor

from slq.errors import SlqError


class Processes:
    """How many processes there are, which of them this one is, and what they tell each other.

    GPUs talk through NCCL, CPUs through gloo; each process has the device that `cuda` or `cpu` then means to it. Every
    method is called by all processes at the same place.
    """

    def __init__(self) -> None:
        self.state = PartialState(cpu=not torch.cuda.is_available())

    @property
    def count(self) -> int:
        return int(self.state.num_processes)

    @property
    def rank(self) -> int:
        return int(self.state.process_index)

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """The rows of a global batch that this process embeds: equally many in each, in order of rank.

        Raises:
            SlqError: the batch does not divide into the processes.
        """
        if batch_size % self.count:
            raise SlqError(
                f"training.batch_size is {batch_size}, which {self.count} processes do not divide; "
                "change resources.train.gpus, or the run's own gpus, in config.yaml"
            )
        rows = batch_size // self.count
        return slice(self.rank * rows, (self.rank + 1) * rows)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (b, …) of all processes, in order of rank, (count · b, …); without gradient."""
        if self.count == 1:
            return rows.detach().clone()
        parts = [torch.empty_like(rows) for _ in range(self.count)]
        torch.distributed.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def added(self, sums: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        """Each number, added up over all processes."""
        numbers = torch.tensor([[number for part in sums.values() for number in part.values()]])
        totals = iter(self.gather(numbers.to(self.state.device)).sum(0).tolist())
        return {name: {key: next(totals) for key in part} for name, part in sums.items()}

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return bool(self.gather(torch.tensor([here], device=self.state.device)).any())

    def wait(self) -> None:
        """Until all processes have come here."""
        self.state.wait_for_everyone()
