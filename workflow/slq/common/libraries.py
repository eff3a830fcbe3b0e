"""Settings of libraries that must be made before they are imported: threads of torch, messages, the network."""

import os


def configure_libraries(num_threads: int | None = None, num_processes: int = 1, allow_network: bool = False) -> None:
    """Set the environment variables that torch and transformers read when they are imported.

    Args:
        num_threads: CPU threads of all processes together; None leaves the default.
        num_processes: number of processes.
        allow_network: whether libraries may use the network, as fetching does, and what checks what fetching will find.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not allow_network:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ["HF_HUB_OFFLINE"] = "1"
    if num_threads is not None:
        threads_per_process = str(max(num_threads // max(num_processes, 1), 1))
        os.environ.update(OMP_NUM_THREADS=threads_per_process, MKL_NUM_THREADS=threads_per_process)
