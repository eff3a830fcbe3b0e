"""Hours: the convention, the column of Table 3, and the table beside the paper's."""

from pathlib import Path
from typing import Any

import pytest

from slq.common.errors import SlqError
from slq.results.hours import total_device_hours, training_device_hours
from slq.results.record import Record
from stored import CPU, H200, MINI, SPANS, Runs, cell, heads, mini_results, rows, tables


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return mini_results(tmp_path)


@pytest.mark.parametrize(
    ("devices", "header", "marked"),
    [((CPU, CPU), "CPU Hour", True), ((H200, H200), "GPU Hour", True), ((CPU, H200), "Device Hour", False)],
)
def test_the_hour_column_names_its_device(results: Path, devices: Any, header: str, marked: bool) -> None:
    runs = Runs(results, "mini")
    for method, device in zip(("full_ft", "slq"), devices, strict=True):
        runs.run("mini-a", method, 10, device)
    runs.run("mini-b", "slq", 10, devices[1])
    table = tables(MINI, results)["table3"]
    assert heads(table)[0][1] == header
    assert any(all(device["name"] in note for device in devices) for note in table.notes)
    assert (cell(table, "mini-a/slq", "hours").mark != "") is marked


def test_hours_follow_the_convention() -> None:
    def run(**content: Any) -> Record:
        return Record(Path("run.json"), "run.json", content)

    assert training_device_hours(run(spans=SPANS, device=H200)) == pytest.approx(90 * 8 / 3600)
    assert total_device_hours(run(spans=SPANS, device=H200)) == pytest.approx(120 * 8 / 3600)
    broken = (run(device=H200), run(spans={}, device=H200), run(spans=SPANS, device=None))
    for one, key in zip(broken, ("spans", "spans.train", "device.count"), strict=True):
        with pytest.raises(SlqError, match=rf"run\.json: key {key} is missing"):
            training_device_hours(one)
    with pytest.raises(SlqError, match="key spans is missing"):
        total_device_hours(run(device=H200))


def test_gpu_hours_set_the_papers_beside_ours_without_mixing_them(results: Path) -> None:
    Runs(results, "mini").run("mini-a", "full_ft", 10, CPU, spans={"train": 360.0, "save": 3.6})
    table = tables(MINI, results)["gpu_hours"]
    shown = [one.text for one in rows(table)["mini-a/slq"].cells]
    assert shown == ["3.9", "0.050", "0.067", "Xeon_E5 & co", "2", "", "", "", "0.22", "0.25"]
    assert [one.state for one in rows(table)["mini-a/slq"].cells] == [
        *["quoted", *["measured"] * 4, *["missing"] * 3, "quoted", "measured"]
    ]
    assert [one.state for one in rows(table)["mini-a/full_ft"].cells[-2:]] == ["inherited"] * 2
    lora = rows(table)["mini-a/lora"].cells
    assert [one.state for one in lora] == ["quoted", *["missing"] * 7, "quoted", "missing"]
    assert cell(table, "mini-b/slq", "ours_ratio").state == "missing"
    assert any("InternVL3-1B for A-mini" in note for note in table.notes)


def test_hours_of_two_devices_are_never_divided(results: Path) -> None:
    Runs(results, "mini").run("mini-a", "full_ft", 10, H200)
    assert cell(tables(MINI, results)["gpu_hours"], "mini-a/slq", "ours_ratio").state == "missing"
