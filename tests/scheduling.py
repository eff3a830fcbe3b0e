"""Distribution of the tests to workers and their order: whole files, heavy ones first, or in a random order."""

import os
import random
from collections.abc import Callable, Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

MACHINE = "machine"
# Files that may only run one at a time on a machine: a Slurm uses links in /etc, a browser much memory.
ONE_AT_A_TIME = {"test_cluster", "test_cluster_accounts", "test_first_run", "test_page", "test_pictures", "test_slurm"}
# Files with long tests that share only folders made once, so each test may run on any worker.
APART = {"test_workflow", "test_dag"}
HEAVY = {"finished", "slice_", "slurm", "browser"}  # fixtures


def group_of(nodeid: str) -> str:
    """Name the group of a test; a group runs on one worker, so its shared fixtures are made once."""
    file = nodeid.partition("::")[0]
    module = file.rpartition("/")[2].removesuffix(".py")
    if module in ONE_AT_A_TIME:
        return MACHINE
    return nodeid if module in APART else file


class Groups(LoadScopeScheduling):
    """A scheduler that distributes groups of tests in the order of collection."""

    def __init__(self, config: pytest.Config, log=None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def grouped(items: Sequence[pytest.Item], name_of: Callable[[str], str]) -> list[list[pytest.Item]]:
    """Group items by the name that `name_of` gives to their ids, in the order of first occurrence."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(name_of(item.nodeid), []).append(item)
    return list(groups.values())


def heavy_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Order groups so that those with expensive fixtures, or with the whole machine, do not end last."""
    groups = sorted(grouped(items, group_of), key=lambda group: not any(HEAVY & {*item.fixturenames} for item in group))
    return [item for group in groups for item in group]


def shuffled(items: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Shuffle the files, and the tests within each file."""
    draw = random.Random(seed)
    files = grouped(items, lambda nodeid: nodeid.partition("::")[0])
    draw.shuffle(files)
    for file in files:
        draw.shuffle(file)
    return [item for file in files for item in file]


def workers() -> int:
    """Count the processors available to this process, at most eight; more workers would wait for memory."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
