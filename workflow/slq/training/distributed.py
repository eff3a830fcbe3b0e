"""Distributed data-parallel processes of a run: launching them, and collective operations between them."""

import os
import sys
from collections.abc import Iterable

import torch
import torch.distributed
from accelerate import PartialState
from accelerate.utils import gather
from torch import Tensor

from slq.common.errors import SlqError

# Flags of accelerate's launcher; port 0 selects any free port.
LAUNCHER_FLAGS = {"num_machines": "1", "mixed_precision": "no", "dynamo_backend": "no", "main_process_port": "0"}


class DistributedContext:
    """World size, rank of this process, and collective operations; a single process without a launcher.

    GPUs communicate through NCCL, CPUs through gloo. In each process, `cuda` or `cpu` refers to the device of that
    process. Collective operations must be called by all processes in the same order.
    """

    def __init__(self) -> None:
        """Join the process group of the launcher, if this process was launched by one."""
        self.state = PartialState(cpu=not torch.cuda.is_available())

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return int(self.state.num_processes)

    @property
    def rank(self) -> int:
        """Rank of this process, from 0."""
        return int(self.state.process_index)

    @property
    def is_main_process(self) -> bool:
        """Whether this process has rank 0; only this process writes files."""
        return self.rank == 0

    def local_batch_slice(self, batch_size: int) -> slice:
        """Return the rows of a global batch that this process embeds: an equal share, in the order of ranks.

        Args:
            batch_size: size of the global batch, which must be divisible by the world size.
        """
        if batch_size % self.world_size:
            raise SlqError(
                f"training.batch_size is {batch_size}, which is not divisible by the {self.world_size} processes of "
                "this run; change resources.train.gpus, or the run's own resources.gpus, in config.yaml"
            )
        local_size = batch_size // self.world_size
        return slice(self.rank * local_size, (self.rank + 1) * local_size)

    def all_gather(self, local_tensor: Tensor) -> Tensor:
        """Gather the rows (b, …) of all processes in the order of ranks, (world_size · b, …), without gradient."""
        gathered: Tensor = gather(local_tensor.detach())
        return gathered

    def all_reduce_sum(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor in place by its sum over all processes."""
        if self.world_size > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def sum_counts(self, counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
        """Sum each count over all processes."""
        numbers = torch.tensor([[number for part in counts.values() for number in part.values()]])
        totals = iter(self.all_gather(numbers.to(self.state.device)).sum(0).tolist())
        return {name: {key: next(totals) for key in part} for name, part in counts.items()}

    def is_true_anywhere(self, local_value: bool) -> bool:
        """Return whether the value is true in any process."""
        return bool(self.all_gather(torch.tensor([local_value], device=self.state.device)).any())


def launch_distributed(num_processes: int, arguments: list[str]) -> bool:
    """Run a job in several processes, unless `num_processes` is below 2 or this process was itself launched.

    If a process fails, this process exits with the exit status of the first failed process, or with 1 if that process
    was ended by a signal.

    Args:
        arguments: command-line arguments of `python -m slq.jobs`.

    Returns:
        whether processes were launched, so that the caller has nothing left to do.
    """
    if num_processes < 2 or "LOCAL_RANK" in os.environ:
        return False
    require_devices(num_processes, torch.cuda.device_count())
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # `--multi_gpu` starts several processes on one machine; without GPUs they communicate through gloo.
    flags = [part for name, value in LAUNCHER_FLAGS.items() for part in (f"--{name}", value)]
    launch_arguments = ["--multi_gpu", "--num_processes", str(num_processes), *flags, "--module", "slq.jobs"]
    try:
        launch_command(launch_command_parser().parse_args([*launch_arguments, *arguments]))
    except ChildFailedError as error:
        sys.exit(max(error.get_first_failure()[1].exitcode, 1))  # the exit code is negative if a signal ended it
    return True


def require_devices(num_processes: int, num_gpus: int) -> None:
    """Check that there is one GPU per process if the machine has GPUs; without GPUs, processes share the CPU."""
    if 0 < num_gpus < num_processes:
        raise SlqError(
            f"this run needs {num_processes} GPUs, but the number of GPUs visible here is {num_gpus}; change "
            "the run's resources.gpus in config.yaml (`resources.train`, or "
            "`backbones.<name>.runs.<method>.resources`), or use a machine with enough GPUs"
        )
