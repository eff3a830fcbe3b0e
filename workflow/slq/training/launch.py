"""Several processes for one training, through accelerate's launcher."""

import os
import sys
from typing import Any

FLAGS = {
    "num_machines": "1",
    "mixed_precision": "no",
    "dynamo_backend": "no",
    "main_process_port": "0",
}  # 0: a free one


def launched(processes: int, arguments: list[str]) -> bool:
    """Run `slq` with these arguments in so many processes, if they are several and this is none of them.

    Returns whether it did; its status becomes this process's, if it is not 0.
    """
    if processes < 2 or "LOCAL_RANK" in os.environ:
        return False
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


def first_status(error: Any) -> int:
    """The exit status of the process that ended first; 1 for one that a signal ended."""
    return max(error.get_first_failure()[1].exitcode, 1)
