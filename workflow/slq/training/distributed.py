"""The processes that train a run together: one, unless a launcher started more."""

import os
import sys
from collections.abc import Iterable

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import gather
from torch import Tensor

from slq.common.errors import SlqError

# Of the launcher; port 0 is a free one.
FLAGS = {"num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no", "main_process_port": "0"}


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
        found: Tensor = gather(rows.detach())
        return found

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


def launched(processes: int, arguments: list[str]) -> bool:
    """Run `slq` with these arguments in so many processes, if they are several and this is none of them.

    Returns whether it did; its status becomes this process's, if it is not 0.

    Raises:
        SlqError: there are GPUs, but not one for each.
    """
    if processes < 2 or "LOCAL_RANK" in os.environ:
        return False
    require_devices(processes, torch.cuda.device_count())
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # `multi_gpu` is the launcher's word for processes of one machine; without GPUs they talk through gloo.
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", value)]
    how = ["--multi_gpu", "--num_processes", str(processes), *flags, "--module", "slq.cli"]
    try:
        launch_command(launch_command_parser().parse_args([*how, *arguments]))
    except ChildFailedError as error:
        sys.exit(max(error.get_first_failure()[1].exitcode, 1))  # of the one that ended first; 1 if a signal ended it
    return True


def require_devices(processes: int, gpus: int) -> None:
    """Raise SlqError if there are GPUs, but not one for each process; without any, processes share the CPU."""
    if 0 < gpus < processes:
        raise SlqError(
            f"this training wants {processes} GPUs, and this machine shows {gpus}; change the run's resources.gpus in "
            "config.yaml (`resources.train`, or `backbones.<name>.runs.<method>.resources`), or run it where they are"
        )
