"""Hours of baselines: in the ledger, and in Table A beside the runs."""

import pytest

from eventlog import DEVICE, Told
from slq.config import cost_settings
from slq.config.loading import validate_config
from slq.cost.ledger import read_ledger
from slq.results.ledger import BASELINE_STAGE, format_ledger_csv
from stored import MINI, Runs, cell, tables


def account(raw: dict) -> dict:
    changed = raw["presets"]["paper"]
    changed["baselines"] = ["CLIP-ViT-B-32", "slq.by.base"]
    return cost_settings.ledger_settings(validate_config(raw | {"preset": "paper"}))


def told_row(root, name: str, *seconds: float, preset: str = "paper") -> None:
    events = Told(root / preset / "baselines" / name / "events" / "retrieval.jsonl")
    events.begin_attempt()
    for each in seconds:
        events.span("eval", each)


def test_rows_are_a_stage_of_their_own_in_the_ledger(raw_config, tmp_path):
    told_row(tmp_path, "CLIP-ViT-B-32", 900)
    told_row(tmp_path, "InternVL3-1B.slq.by.base", 900, 900)
    lines = read_ledger(account(raw_config), tmp_path)
    assert [(line.backbone, line.method, line.seed, line.stage) for line in lines] == [
        ("", "CLIP-ViT-B-32", 0, BASELINE_STAGE),
        ("InternVL3-1B", "InternVL3-1B.slq.by.base", 0, BASELINE_STAGE),
    ]
    assert [line.total_hours for line in lines] == pytest.approx([0.5, 1.0])
    assert all(line.train_hours == 0 and line.pflop is None for line in lines)
    assert lines[1].source == f"{tmp_path}/paper/baselines/InternVL3-1B.slq.by.base/events/retrieval.jsonl"


def test_table_a_shows_rows_and_leaves_training_as_it_was(raw_config, tmp_path):
    """Table A gets two rows of a backbone and a comparator; every cell of the runs stays the same."""
    runs = Runs(tmp_path / "results", "mini")
    for method in ("full_ft", "slq"):
        runs.run("mini-a", method, 10, DEVICE)
    before = tables(MINI, tmp_path / "results")
    asked = account(raw_config) | {"preset": "mini", "backbones": [], "methods": []}
    pairs = (("x", ""), ("y", "mini-a"), ("z", "mini-a"))
    asked["baselines"] = [{"name": name, "backbone": one} for name, one in pairs]
    for place, row in enumerate(asked["baselines"]):
        told_row(tmp_path / "events", row["name"], 900 * (place + 1), preset="mini")
    (tmp_path / "results/mini/gpu_hours.csv").write_text(format_ledger_csv(read_ledger(asked, tmp_path / "events")))
    after = tables(MINI, tmp_path / "results")
    assert [cell(after["gpu_hours"], f"baselines/{one}", "ours_total").value for one in ("mini-a", "comparators")] == [
        pytest.approx(2.5),
        pytest.approx(0.5),
    ]
    assert cell(after["gpu_hours"], "baselines/mini-a", "ours").text == "0"
    assert cell(after["gpu_hours"], "baselines/mini-a", "ours_total").source == "results/mini/gpu_hours.csv"
    for row, column in (("mini-a/slq", "ours"), ("mini-a/slq", "ours_total"), ("mini-a/full_ft", "ours_ratio")):
        assert cell(after["gpu_hours"], row, column) == cell(before["gpu_hours"], row, column)
    assert after["table3"].groups == before["table3"].groups


def test_an_empty_file_of_events_tells_of_nothing(raw_config, tmp_path):
    path = tmp_path / "paper/baselines/CLIP-ViT-B-32/events/retrieval.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert read_ledger(account(raw_config), tmp_path) == []
