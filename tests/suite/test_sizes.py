"""Tests that pages, config.yaml, `slq doctor` and the forecast state the same sizes and hours of the paper preset."""

import math
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from slq.config.cost_settings import forecast_settings
from slq.config.loading import load_merged_config
from slq.cost.forecast import forecast_preset
from slq.preflight import checks
from slq.sources.listing import list_fetched_sources, sources_disk_space

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/first-run.md", "docs/cluster.md", "docs/data.md")
WORDS = {page: " ".join((ROOT / page).read_text().split()) for page in PAGES}
FREE = re.compile(r"scratch: \d+ GB free")


@pytest.fixture(scope="module")
def sizes():
    """The numbers, in GB and hours, from config.yaml alone."""
    config = load_merged_config([ROOT / "config.yaml"], "paper")
    names = [name for _, name in list_fetched_sources(config, "paper")]
    space = sources_disk_space(config, names)
    parts = [part for name in names for part in config["sources"][name]["parts"]]
    runs, _ = forecast_preset(forecast_settings(config))
    return SimpleNamespace(
        space=space,
        download=sum(part["gb"] for part in parts if "local_dir" not in part),
        supplied=sum(part["gb"] for part in parts if "local_dir" in part),
        largest=max(run.disk_gb for run in runs),
        all=sum(run.disk_gb for run in runs),
        first=next(run for run in runs if (run.backbone, run.method) == ("InternVL3-1B", "slq")),
    )


def test_every_page_that_states_a_size_states_the_same(sizes):
    """Also where numbers are in sentences, whose outputs no command prints."""
    expected = {
        r"([\d.]+) GB of disk": f"{sizes.space.files:.1f}",
        r"and ([\d.]+) (?:GB )?more while an archive": f"{sizes.space.unpacking:.1f}",
        r"sources ([\d.]+ \+ [\d.]+) GB": f"{sizes.space.files:.1f} + {sizes.space.unpacking:.1f}",
        r"largest training (?:needs )?(\d+) GB": f"{sizes.largest:.0f}",
        r"([\d.]+) GB (?:are downloaded|from the internet)": f"{sizes.download:.1f}",
        r"([\d.]+)(?: GB are copied from your folder|, by hand)": f"{sizes.supplied:.1f}",
    }
    found = {pattern: [(page, re.findall(pattern, text)) for page, text in WORDS.items()] for pattern in expected}
    for pattern, number in expected.items():
        numbers = [(page, one) for page, them in found[pattern] for one in them]
        assert len(numbers) > 1 and {one for _, one in numbers} == {number}, f"{pattern}: {numbers}"


def test_the_costs_of_the_first_run_are_those_of_the_forecast(sizes):
    """The table of docs/first-run.md; hours of all runs are printed by a command of that page."""
    page, space = WORDS["docs/first-run.md"], sizes.space
    hours = sizes.first.train_hours + sizes.first.evaluation_hours
    disk = space.files + space.unpacking + sizes.largest, space.files + space.unpacking + sizes.all
    for text in (
        f"| {sizes.download:.1f} | {space.files:.1f}, and {space.unpacking:.1f} more while an archive is unpacked |",
        f"| {sizes.largest:.0f} for the largest training, {sizes.all:.0f} if all run at once |",
        f"| 9 SLQ on InternVL3-1B | {hours.low:.1f}-{hours.high:.1f} |",
        f"`scratch` needs {math.ceil(disk[0])} GB, and {math.ceil(disk[1])} GB if all trainings run at once",
        f"you have spent {math.ceil(hours.high + 2.25)} GPU hours at most",
    ):
        assert text in page, text
    printed = re.search(r"All runs of 1 seed\(s\): (\S+) hours .*? Wall time on 8 at once: (\S+) h", page)
    assert f"| 10 everything | {printed[1]}, and baselines |" in page and f"| {printed[2]} hours on 8 GPUs |" in page


@pytest.mark.parametrize("page", ["docs/first-run.md", "docs/cluster.md"])
def test_doctor_says_what_its_example_shows(sizes, page, monkeypatch):
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=82e9))
    finding = checks.check_disk(Path("scratch"), sizes.space, sizes.largest, sizes.all)
    assert finding.severity == checks.ERROR
    assert FREE.sub("", f"{finding.message} {finding.advice}") in FREE.sub("", WORDS[page])
