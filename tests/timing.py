"""Where a run of the suite spends its time: the slowest tests, and processor seconds by file, in its last lines."""

import os
import time
from collections import defaultdict

import pytest

SLOWEST = 10
COLUMNS = 3
MADE_ONCE = "made for all files"


class Clock:
    """Seconds by the wall, and of processors: of this process, and of its children that have ended."""

    def __init__(self) -> None:
        self.wall, self.processor = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        times = os.times()
        return time.monotonic(), sum(times[:4])

    def read(self) -> tuple[float, float]:
        wall, processor = self.now()
        return wall - self.wall, processor - self.processor


class Timing:
    """Measures each part of each test where it runs, and prints the table where all reports arrive.

    What is made for the whole session is no test's own: it would be charged to whichever happens to come first.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.session = (0.0, 0.0)  # spent in this part of a test on what is made for all
        self.depth = 0
        self.tests: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.files: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        if fixturedef.scope != "session" or self.depth:
            return (yield)
        clock, self.depth = Clock(), 1
        try:
            return (yield)
        finally:
            self.depth = 0
            self.session = tuple(sum(pair) for pair in zip(self.session, clock.read(), strict=True))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self):
        self.clock = Clock()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        report = yield
        wall, processor = self.clock.read()
        report.seconds = [wall - self.session[0], processor - self.session[1], self.session[1]]
        self.clock, self.session = Clock(), (0.0, 0.0)
        return report

    def pytest_runtest_logreport(self, report):
        wall, processor, shared = getattr(report, "seconds", (0.0, 0.0, 0.0))  # none of a worker that died
        file = report.nodeid.partition("::")[0]
        for key, seconds in ((file, processor), (MADE_ONCE, shared)):
            self.files[key] += seconds
        self.tests[report.nodeid][0] += wall
        self.tests[report.nodeid][1] += processor

    def pytest_terminal_summary(self, terminalreporter):
        if len(self.files) < 3:  # of one file nobody asks
            return
        terminalreporter.section(f"{SLOWEST} slowest tests: seconds, of processors")
        for test, (wall, processor) in sorted(self.tests.items(), key=lambda pair: -pair[1][0])[:SLOWEST]:
            terminalreporter.line(f"{wall:7.1f} {processor:7.1f}  {test}")
        total = sum(self.files.values())
        terminalreporter.section(f"processor seconds by file, {total:.0f} in all")
        ordered = sorted(self.files.items(), key=lambda pair: -pair[1])
        lines = [f"{seconds:6.1f}  {file.removeprefix('tests/')}" for file, seconds in ordered]
        height = -(-len(lines) // COLUMNS)
        for row in range(height):
            terminalreporter.line("".join(line.ljust(40) for line in lines[row::height]).rstrip())
