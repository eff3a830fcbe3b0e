"""The frontier: halves of the questions, which run is picked, and that no number is reported that it was picked by."""

import hashlib
import itertools
import json

import numpy as np
import pandas as pd
import pytest

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.config.runs import frontier_points
from slq.reporting.frontier import FrontierPoint, draw_frontier, draw_halves, pick, split_accuracy
from stored import CPU, METHOD_KEYS, MINI, TEMPLATES, Runs, entries, write_answers, write_ranks

QUESTIONS = 40
LAYOUT = METHOD_KEYS | {
    **{key: MINI[key] for key in ("table3_base", "seeds", "baselines", "knowledge_datasets")},
    "preset": "mini",
    "backbones": entries(("a", "A", "")),
    "methods": ["base", "lora", "slq"],
    "rows": [row for row in METHOD_KEYS["rows"] if row["name"] != "full_ft"],
    "cost_baseline": "lora",
    "retrieval_datasets": entries(("c", "C", "coco")),
    "retention_datasets": [entries(("r", "R", "realworldqa"))[0] | {"scored_as": "realworldqa"}],
}
POINTS = [
    {"name": "lora", "learning_rate": 0.1, "fractions": [0, 0.5, 1]},
    {"name": "slq", "learning_rate": 0.1, "fractions": []},
]
SETTINGS = LAYOUT | {"points": POINTS, "tolerance": 10.0}


def answers(right):
    """Answers to all questions, of two types; those with a number in `right` are correct."""
    asked = {"question": "?", "prompt": "?", "options": [], "answers": ["red"], "tokens": 2, "ended": True}
    items = enumerate(f"q{number}" for number in range(QUESTIONS))
    return [
        asked | {"id": name, "type": ("open", "odd")[n % 2], "answer": "red" if n in right else "no"}
        for n, name in items
    ]


def by_hash(parity):
    """Half of the questions, written as a loop over types."""
    found = set()
    for kind in (0, 1):
        order = sorted(range(kind, QUESTIONS, 2), key=lambda n: hashlib.sha256(f"r/q{n}".encode()).hexdigest())
        found |= {n for place, n in enumerate(order, start=1) if place % 2 == parity}
    return found


SELECTION, REPORT = by_hash(0), by_hash(1)


@pytest.fixture
def lab(tmp_path):
    """Runs of LoRA at two rates and two fractions, and of SLQ; `right` sets the answers of a run."""
    runs = Runs(tmp_path / "results", "mini")

    def write(name, val, best, right):
        runs.run(
            "a",
            name,
            trained=0 if name == "base" else 9,
            device=CPU,
            val=val and {"recalls": [{"t2i": {"R@1": val}}], "selected_epoch": 0},
        )
        folder = runs.folder("a", name)
        write_ranks(folder / "retrieval/c.json", list(np.repeat(best, 5)), best)
        write_answers(folder / "retention/r.json", "realworldqa", "vlmevalkit-exact-2", answers(right))

    every = {*range(QUESTIONS)}
    write("base", None, [9] * 20, every)
    for number, (name, val) in enumerate(
        [("lora", 60.0), ("lora/lr0.3", 80.0), ("lora/mix0", 10.0), ("lora/mix0.5", 50.0), ("slq", 55.0)]
    ):
        write(name, val, [1 + (n * number) % 9 for n in range(20)], every)
    trials = [{"learning_rate": rate, "val": {"t2i": {"R@1": 1.0}}} for rate in (0.1, 0.3)]
    for method, own in (("lora", trials), ("slq", trials[:1])):
        write_json(runs.folder("a", method) / "lr_sweep.json", {"schema": 3, "trials": own})
    return tmp_path, write


def drawn(root):
    paths = (root / "results", TEMPLATES, root / "paper_tables", root / "results/mini/frontier.json")
    draw_frontier(SETTINGS, *paths)
    return read_json(paths[-1])["backbones"]["a"]


def point(name, found):
    return next(one for one in found["points"] if one["name"] == name)


def test_every_run_is_on_it_and_the_best_on_val_is_picked(lab):
    root, _ = lab
    found = drawn(root)
    names = ["lora", "lora/lr0.3", "lora/mix0", "lora/mix0.5", "slq"]
    assert [one["name"] for one in found["points"]] == names
    assert found["picked"] == {"lora": "lora/lr0.3", "slq": "slq"}
    table = (root / "paper_tables/frontier.html").read_text()
    assert "LoRA, rate 0.3" in table and "LoRA, 0.5 of its update" in table
    rows = pd.read_csv(root / "paper_tables/figures/frontier.csv")
    assert rows["series"].tolist() == ["base", *names]


def test_a_run_that_forgets_on_the_selection_half_is_not_picked(lab):
    root, write = lab
    write("lora/lr0.3", 80.0, [1] * 20, REPORT)
    assert drawn(root)["picked"]["lora"] == "lora"


def test_what_is_reported_does_not_depend_on_the_half_that_picks_and_the_pick_not_on_the_reported_half(lab):
    root, write = lab
    before = drawn(root)
    few = set(sorted(SELECTION)[:1])  # within the tolerance
    write("lora/lr0.3", 80.0, [1 + n % 9 for n in range(20)], {*range(QUESTIONS)} - few)
    after = drawn(root)
    assert after["picked"] == before["picked"]
    old, new = point("lora/lr0.3", before)["retention"], point("lora/lr0.3", after)["retention"]
    assert new["report"] == old["report"] and new["selection"] < old["selection"]
    write("lora/lr0.3", 80.0, [1 + n % 9 for n in range(20)], SELECTION)
    worst = drawn(root)
    assert worst["picked"] == before["picked"] and point("lora/lr0.3", worst)["retention"]["report"] == 0
    rows = pd.read_csv(root / "paper_tables/figures/frontier.csv").set_index("series")
    assert rows["x"]["lora/lr0.3"] == -100, "the figure shows the reported half"


def test_differences_are_of_the_picked_runs_and_one_seed_decides_nothing(lab):
    root, _ = lab
    found = drawn(root)
    assert {(one["against"], one["direction"]) for one in found["differences"]} == {("lora", "t2i"), ("lora", "i2t")}
    for one in found["differences"]:
        expected = point("slq", found)["recalls"][f"c {one['direction']}"]
        expected -= point("lora/lr0.3", found)["recalls"][f"c {one['direction']}"]
        assert one["value"] == pytest.approx(expected) and one["verdict"].startswith("this run only")


def test_without_a_run_within_the_tolerance_it_says_so(lab):
    root, write = lab
    for name in ("lora", "lora/lr0.3", "lora/mix0", "lora/mix0.5"):
        write(name, 80.0, [1] * 20, set())
    found = drawn(root)
    assert found["picked"]["lora"] is None and found["differences"] == []
    assert "no run of LoRA stays within the tolerance" in (root / "paper_tables/frontier.tex").read_text()


def test_the_pick_is_that_of_a_loop():
    base = FrontierPoint("base", "base", None, {}, {"selection": 50.0, "report": 0.0})
    for values in itertools.product((1.0, 2.0, 3.0), (48.9, 49.0, 60.0), repeat=3):
        points = [
            FrontierPoint(str(n), "lora", values[2 * n], {}, {"selection": values[2 * n + 1], "report": 0.0})
            for n in range(3)
        ]
        best = None
        for one in points:
            if one.retention["selection"] >= 49.0 and (best is None or one.val > best.val):
                best = one
        assert pick([*points, FrontierPoint("s", "slq", 9.0, {}, base.retention)], "lora", base, 1.0) is best


def test_halves_have_as_many_questions_of_each_type_and_do_not_depend_on_their_order():
    table = pd.DataFrame(answers(SELECTION))[["id", "type"]].assign(
        is_correct=[n in SELECTION for n in range(QUESTIONS)]
    )
    for ordered in (table, table.iloc[::-1]):
        assert split_accuracy("r", ordered) == {"selection": 100.0, "report": 0.0}
        counts = ordered.groupby("type")["id"].count() / 2
        assert all(
            ordered[draw_halves("r", ordered) == half].groupby("type")["id"].count().eq(counts).all()
            for half in ("selection", "report")
        )


def test_a_type_of_a_single_question_is_one_message():
    table = pd.DataFrame({"id": ["a", "b", "c"], "type": ["open", "odd", "open"], "is_correct": True})
    table.attrs["source"] = "r.answers.jsonl"
    message = r"r\.answers\.jsonl: type 'odd' of r has 1 question, which cannot be in both halves"
    with pytest.raises(SlqError, match=message):
        split_accuracy("r", table)


def test_the_trial_at_the_configured_rate_is_the_run_and_a_diverged_one_is_left_out():
    trials = [{"learning_rate": rate, "val": val} for rate, val in ((0.1, {}), (0.3, {"t2i": {}}), (0.9, None))]
    assert frontier_points("slq", 0.1, trials, []) == ["slq", "slq/lr0.3"]
    assert frontier_points("lora", 0.3, trials, [0, 0.25, 1]) == ["lora", "lora/lr0.1", "lora/mix0", "lora/mix0.25"]
    assert json.dumps(frontier_points("lora", 9, [], [])) == '["lora"]'
