"""Several processes for one training, through accelerate's launcher."""

import os
import sys
from typing import Any

import torch

from slq.errors import SlqError

FLAGS = {
    "num_machines": "1",
    "mixed_precision": "no",
    "dynamo_backend": "no",
    "main_process_port": "0",
}  # 0: a free one


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
        sys.exit(first_status(error))
    return True


def require_devices(processes: int, gpus: int) -> None:
    """Raise SlqError if there are GPUs, but not one for each process; without any, processes share the CPU."""
    if 0 < gpus < processes:
        raise SlqError(
            f"this training wants {processes} GPUs, and this machine shows {gpus}; change the run's resources.gpus in "
            "config.yaml (`resources.train`, or `backbones.<name>.runs.<method>.resources`), or run it where they are"
        )


def first_status(error: Any) -> int:
    """The exit status of the process that ended first; 1 for one that a signal ended."""
    return max(error.get_first_failure()[1].exitcode, 1)
