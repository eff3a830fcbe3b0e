"""The ledger: hours, FLOPs, cost and shared work of runs, read from events with known times."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from eventlog import DEVICE, Told
from slq.common.errors import SlqError
from slq.common.files import write_json
from slq.config import cost_settings
from slq.config.loading import validate_config
from slq.cost.architecture import read_architecture
from slq.cost.flops import TokenTotals, total_flops, train_flops
from slq.cost.ledger import format_flags, read_ledger
from slq.methods.registry import find_method
from slq.results.ledger import format_ledger_csv, load_ledger
from stored import MINI, Runs, cell, tables

RUN = "paper/InternVL3-1B/slq/seed{}"


@pytest.fixture
def asked(raw_config) -> dict:
    raw = raw_config | {"preset": "paper", "seeds": [1, 2, 3]}
    raw["accounting"]["price"] = {"device_hour": 2.0, "currency": "EUR"}
    return cost_settings.ledger_settings(validate_config(raw))


def told(root: Path, seed: int = 1, stage: str = "train") -> Told:
    return Told(root / RUN.format(seed) / "events" / f"{stage}.jsonl")


def test_two_devices_for_an_hour_and_a_preempted_attempt(asked, tmp_path):
    events = told(tmp_path)
    events.begin_attempt()
    events.train(1, 10, 60, killed=True)
    events.begin_attempt()
    events.span("init", 36)
    events.train(1, 60, 60)
    (line,) = read_ledger(asked, tmp_path)
    assert (line.train_hours, line.repeated_hours) == pytest.approx((2.0, 2 / 6))
    assert line.total_hours == pytest.approx(2 + 2 / 6 + 0.02)
    assert line.cost == pytest.approx(2 * line.total_hours)
    assert (line.attempts, line.devices, line.slurm_jobs) == (2, 2, "41 42")
    work = TokenTotals.of_equal_length(60 * 4, 10, 9) + TokenTotals.of_equal_length(60 * 4, 10)
    architecture = read_architecture(asked["backbones"][0]["architecture"])
    flops = total_flops(
        train_flops(architecture, find_method("slq").plan(asked["hyperparameters"]["slq"], architecture.text), work)
    )
    assert line.pflop == pytest.approx(flops / 1e15)
    assert line.mfu == pytest.approx(flops / (2 * 3600 * 989e12))
    assert line.pflop < min(line.pflop_grad_cache, line.pflop_released)


def test_what_three_runs_share_is_counted_once(asked, tmp_path):
    for seed in (1, 2, 3):
        events = told(tmp_path, seed)
        events.begin_attempt()
        events.train(1, 10, 36)
    trials = [{"learning_rate": rate, "hours": hours, "device": DEVICE} for rate, hours in ((0.1, 2.0), (0.3, 0.2))]
    write_json(tmp_path / RUN.format(1) / "lr_sweep.json", {"trials": trials})
    lines = read_ledger(asked, tmp_path)
    assert sum(line.total_hours for line in lines) == pytest.approx(3 * 0.2 + 2.2)
    (shared,) = [line for line in lines if line.stage == "lr_sweep"]
    assert (shared.reused, shared.train_hours, shared.attempts) == ("shared by 3 runs, counted once", 0, 2)
    # A trial that became the run is counted as the run.
    settings = {"hyperparameters": {"learning_rate": 0.3}}
    write_json(tmp_path / RUN.format(1) / "run.json", {"settings": settings})
    assert sum(line.total_hours for line in read_ledger(asked, tmp_path)) == pytest.approx(3 * 0.2 + 2.0)


def test_answers_of_an_earlier_attempt_cost_nothing_and_are_named(asked, tmp_path):
    events = told(tmp_path, stage="equivalence")
    events.begin_attempt()
    events.span("eval", 1800)
    events.write("span", name="eval", start=events.clock, seconds=0.0, reused=900)
    (line,) = read_ledger(asked, tmp_path)
    assert line.total_hours == pytest.approx(1.0) and line.reused == "900 answers of an earlier attempt"


def test_energy_and_memory_are_of_all_spans(asked, tmp_path):
    events = told(tmp_path)
    events.begin_attempt()
    for joules, memory in ((3.6e6, 10.0), (1.8e6, 30.0)):
        events.write("span", name="train", start=events.clock, seconds=10.0, joules=joules, memory_gb=memory)
        events.clock += 10
    (line,) = read_ledger(asked, tmp_path)
    assert (line.kwh, line.memory_gb) == (1.5, 30.0)
    assert line.pflop is None and line.mfu is None


def test_hours_of_two_kinds_of_device_are_refused(asked, tmp_path):
    events = told(tmp_path)
    events.begin_attempt()
    events.span("init", 5)
    events.begin_attempt()
    events.write("span", name="init", start=events.clock, seconds=1.0, device={"kind": "cuda", "name": "B", "count": 1})
    with pytest.raises(SlqError, match=r"train\.jsonl: attempts on \['B', 'NVIDIA H200'\]"):
        read_ledger(asked, tmp_path)


def test_what_is_odd_about_a_clock_is_a_flag_of_its_line_and_a_note_of_table_a(asked, tmp_path):
    """The hours stay; a file without readable events has no hours, and a note states that too."""
    results = tmp_path / "results"
    Runs(results, "mini").run("mini-a", "slq", 10, DEVICE)
    asked |= {"preset": "mini", "seeds": {"slq": [1]}, "methods": ["slq"]}
    asked["backbones"] = [asked["backbones"][0] | {"name": "mini-a"}]
    folder = results / "mini/mini-a/slq/seed1/events"
    events = Told(folder / "train.jsonl")
    events.begin_attempt()
    events.train(1, 10, 36)
    events.clock -= 3
    events.write("val", epoch=0)
    events.clock += 3
    events.span("save", 2)
    (folder / "equivalence.jsonl").write_bytes(b"\xff" * 100)
    train, equivalence = read_ledger(asked, results)
    assert (train.train_hours, train.flags) == (0.2, "line 14: the clock steps back by 3.0 seconds")
    assert (equivalence.total_hours, equivalence.cost, equivalence.device) == (None, None, "")
    assert equivalence.flags == "line 1: cut off, or no event; left out; no event names a device: hours are not known"
    path = results / "mini" / "gpu_hours.csv"
    path.write_text(format_ledger_csv([train, equivalence]))
    *_, note = tables(MINI, results)["gpu_hours"].notes
    assert f"mini-a slq (seed 1, train): {train.flags}. mini-a slq (seed 1, equivalence): {equivalence.flags}." in note
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["flags"] for row in rows] == [train.flags, equivalence.flags] and rows[1]["total_hours"] == ""
    path.write_text(format_ledger_csv([replace(train, flags="")]))
    assert "Odd" not in " ".join(tables(MINI, results)["gpu_hours"].notes)


def test_the_first_three_oddities_are_told_and_how_many_more():
    assert format_flags(list("abcde")) == "a; b; c; and 2 more" and format_flags([]) == ""


def test_an_architecture_without_a_closed_form_has_hours_and_no_flops(asked, tmp_path):
    asked["backbones"][0]["architecture"] = {"model_type": "llava"}
    events = told(tmp_path)
    events.begin_attempt()
    events.train(1, 10, 36)
    (line,) = read_ledger(asked, tmp_path)
    assert (line.train_hours, line.pflop, line.mfu) == (0.2, None, None)


def test_hours_are_compared_with_what_slurm_booked(asked, tmp_path, monkeypatch, capsys):
    """Slurm booked two jobs of two GPUs, the first requeued once; the second call finds no database."""
    events = told(tmp_path)
    for _ in range(2):
        events.begin_attempt()
        events.span("init", 1800)
    tool = tmp_path / "bin" / "sacct"
    tool.parent.mkdir()
    rows = ["41|PREEMPTED|600|cpu=12,gres/gpu=2", "41|CANCELLED by 0|1300|cpu=12,gres/gpu=2,mem=8G"]
    rows += ["42|COMPLETED|1900|billing=12,cpu=12,gres/gpu=2,gres/gpu:h800=2"]
    tool.write_text(
        '#!/bin/sh\ncase "$*" in *"-X -D"*"41,42") printf "%s\\n" ' + " ".join(f'"{row}"' for row in rows) + ";; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    (line,) = read_ledger(asked, tmp_path)
    assert line.sacct_hours == pytest.approx(3800 * 2 / 3600)
    assert line.sacct_difference == pytest.approx(3800 * 2 / 3600 - 2.0)
    tool.write_text("#!/bin/sh\necho no database >&2; exit 1\n")
    (line,) = read_ledger(asked, tmp_path)
    assert line.sacct_hours is None
    assert "sacct: no database: hours are not compared with Slurm's records" in capsys.readouterr().err
    tool.write_text("#!/bin/sh\necho '41|Unknown||'\n")
    (line,) = read_ledger(asked, tmp_path)
    assert line.sacct_hours is None and "unexpected output: '41|Unknown||'" in capsys.readouterr().err


def test_a_ledger_is_loaded_as_it_was_written_and_a_word_for_a_number_is_named(asked, tmp_path):
    events = told(tmp_path, stage="equivalence")
    events.begin_attempt()
    events.span("eval", 1800)
    path, written = tmp_path / "gpu_hours.csv", read_ledger(asked, tmp_path)
    path.write_text(format_ledger_csv(written))
    (found,) = load_ledger(path).to_dict("records")
    assert (found["backbone"], found["devices"]) == (written[0].backbone, written[0].devices)
    assert found["total_hours"] == pytest.approx(written[0].total_hours, rel=1e-5)
    assert math.isnan(found["sacct_hours"]) and found["flags"] == written[0].flags
    path.write_text(path.read_text().replace(DEVICE["name"] + ",", DEVICE["name"] + ",two"))
    with pytest.raises(SlqError, match=r"gpu_hours\.csv:2: could not convert string to float: 'two.*; delete the file"):
        load_ledger(path)
    assert load_ledger(tmp_path / "none.csv").empty


def test_the_table_takes_flops_from_the_ledger(asked, tmp_path):
    """The row of SLQ as released has the paper's hours and our steps' FLOPs, but none of our hours."""
    results = tmp_path / "results"
    Runs(results, "mini").run("mini-a", "slq", 10, DEVICE)
    asked |= {"preset": "mini", "seeds": {"slq": [1]}, "methods": ["slq"]}
    asked["backbones"] = [asked["backbones"][0] | {"name": "mini-a"}]
    events = Told(results / "mini/mini-a/slq/seed1/events/train.jsonl")
    events.begin_attempt()
    events.train(1, 10, 36)
    (line,) = lines = read_ledger(asked, results)
    path = results / "mini" / "gpu_hours.csv"
    path.write_text(format_ledger_csv(lines))
    assert len(list(csv.DictReader(path.read_text().splitlines()))) == 1
    table = tables(MINI, results)["gpu_hours"]
    assert cell(table, "mini-a/slq", "pflop").value == pytest.approx(line.pflop, rel=1e-5)
    assert cell(table, "mini-a/slq", "mfu").value == pytest.approx(100 * line.mfu, rel=1e-5)
    assert cell(table, "mini-a/slq", "pflop").source == "results/mini/gpu_hours.csv"
    released = {key: cell(table, "mini-a/slq_released", key) for key in ("paper", "ours", "pflop")}
    assert [one.state for one in released.values()] == ["quoted", "missing", "inherited"]
    assert released["pflop"].value == pytest.approx(line.pflop_released, rel=1e-5)
