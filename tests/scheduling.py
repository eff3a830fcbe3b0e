"""Which worker runs which tests, and in which order: files as wholes, what takes longest first, or a drawn order."""

import os
import random
from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

MACHINE = "machine"
# Of these there may be one at a time on a machine: a Slurm by its links in /etc, a browser by what it takes.
ONE_AT_A_TIME = {"test_cluster", "test_cluster_accounts", "test_report", "test_slurm"}
# Files whose tests are long and share nothing but what is made once: any worker may take any of them.
APART = {"test_workflow", "test_dag"}


def group_of(nodeid: str) -> str:
    """Tests of a group run on one worker, so that it makes what a file of tests shares once."""
    file = nodeid.partition("::")[0]
    module = file.rpartition("/")[2].removesuffix(".py")
    if module in ONE_AT_A_TIME:
        return MACHINE
    return nodeid if module in APART else file


class Groups(LoadScopeScheduling):
    """Hands out groups of tests in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log=None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Files that need what is made once or a machine of their own come first, so that none of them is the last."""
    heavy = {"finished", "slice_", "slurm", "browser"}
    by_file: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_file.setdefault(group_of(item.nodeid), []).append(item)
    groups = sorted(by_file.values(), key=lambda group: not any(heavy & {*item.fixturenames} for item in group))
    return [item for group in groups for item in group]


def shuffled(items: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Files in a drawn order, and the tests of each in one."""
    draw = random.Random(seed)
    by_file: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_file.setdefault(item.nodeid.partition("::")[0], []).append(item)
    files = list(by_file.values())
    draw.shuffle(files)
    for file in files:
        draw.shuffle(file)
    return [item for file in files for item in file]


def workers() -> int:
    """One for each processor that this process may use; more than eight would wait for memory and for each other."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
