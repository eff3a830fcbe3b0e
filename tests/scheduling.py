"""Which worker runs which tests, and in which order: files as wholes, heavy ones first, or a drawn order."""

import os
import random
from collections.abc import Callable, Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

MACHINE = "machine"
# Of these there may be one at a time on a machine: a Slurm by its links in /etc, a browser by what it takes.
ONE_AT_A_TIME = {"test_cluster", "test_cluster_accounts", "test_page", "test_pictures", "test_slurm"}
# Files whose tests are long and share nothing but what is made once: any worker may take any of them.
APART = {"test_workflow", "test_dag"}
HEAVY = {"finished", "slice_", "slurm", "browser"}  # fixtures


def group_of(nodeid: str) -> str:
    """Name the group of a test: its tests run on one worker, which makes what they share once."""
    file = nodeid.partition("::")[0]
    module = file.rpartition("/")[2].removesuffix(".py")
    if module in ONE_AT_A_TIME:
        return MACHINE
    return nodeid if module in APART else file


class Groups(LoadScopeScheduling):
    """Hand out groups of tests in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log=None) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def grouped(items: Sequence[pytest.Item], name_of: Callable[[str], str]) -> list[list[pytest.Item]]:
    """Put items of one name together, names in the order in which they first occur; `name_of`: of an item's id."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(name_of(item.nodeid), []).append(item)
    return list(groups.values())


def heavy_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Order groups so that those which need what is made once, or the machine, are not the last to end."""
    groups = sorted(grouped(items, group_of), key=lambda group: not any(HEAVY & {*item.fixturenames} for item in group))
    return [item for group in groups for item in group]


def shuffled(items: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Draw an order of files, and one of the tests of each."""
    draw = random.Random(seed)
    files = grouped(items, lambda nodeid: nodeid.partition("::")[0])
    draw.shuffle(files)
    for file in files:
        draw.shuffle(file)
    return [item for file in files for item in file]


def workers() -> int:
    """Count the processors that this process may use; more than eight workers would wait for memory and each other."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)
