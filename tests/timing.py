"""A summary of the time of a test run: its slowest tests, and processor seconds by file."""

import os
import time
from collections import defaultdict

import pytest

SLOWEST = 10
COLUMNS = 3
MADE_ONCE = "made for all files"


class Clock:
    """A clock of wall time and of the processor time of this process and its finished children."""

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
    """A pytest plugin that measures each phase of each test in its worker and prints the summary in the main process.

    Session fixtures are not counted for any test, because they would count for whichever test runs first.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.session = (0.0, 0.0)  # time of session fixtures in this phase of a test
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
        wall, processor, shared = getattr(report, "seconds", (0.0, 0.0, 0.0))  # missing for a worker that died
        file = report.nodeid.partition("::")[0]
        for key, seconds in ((file, processor), (MADE_ONCE, shared)):
            self.files[key] += seconds
        self.tests[report.nodeid][0] += wall
        self.tests[report.nodeid][1] += processor

    def pytest_terminal_summary(self, terminalreporter):
        if len(self.files) < 3:  # no summary for a single file
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
