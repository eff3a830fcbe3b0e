"""Table F: the rate of each run beside the search that it comes from."""

import pytest

from slq.common.files import write_json
from stored import CPU, MINI, Runs, cell, tables


def trial(rate, value):
    return {
        "learning_rate": rate,
        "val": value and {"t2i": {"R@1": value, "R@5": value + 2}},
        "hours": 0.5,
        "device": CPU,
    }


@pytest.fixture
def results(tmp_path):
    """SLQ on A with a search, full FT without one."""
    runs = Runs(tmp_path / "results", "mini")
    for method in ("slq", "full_ft"):
        runs.run("mini-a", method, device=CPU, settings={"hyperparameters": {"learning_rate": 0.03}})
    return tmp_path / "results"


def stored(results, trials, chosen, edge):
    content = {"schema": 3, "trials": trials, "learning_rate": chosen, "edge": edge, "hours": 2.0}
    write_json(results / "mini/mini-a/slq/seed1/lr_sweep.json", content)


def texts(results, row):
    columns = ("used", "chosen", "lost", "grid", "trials", "diverged", "hours", "verdict")
    return [cell(tables(MINI, results)["rates"], row, column).text for column in columns]


TRIALS = [trial(0.01, 50.0), trial(0.03, 61.0), trial(0.09, 60.0), trial(0.27, None)]


@pytest.mark.parametrize(
    ("trials", "chosen", "edge", "row"),
    [
        (TRIALS, 0.03, None, ["0.03", "0.03", "0.0", "0.01 to 0.27", "4", "1", "2.0", "inside the grid"]),
        (TRIALS[:2], 0.03, "upper", ["0.03", "0.03", "0.0", "0.01 to 0.03", "2", "0", "2.0", "edge"]),
        (
            [trial(0.03, 61.0), trial(0.09, 63.5)],
            0.09,
            "upper",
            ["0.03", "0.09", "\u22122.5", "0.03 to 0.09", "2", "0", "2.0", "edge; not used"],
        ),
        ([trial(0.3, None)], None, "lower", ["0.03", "", "", "0.3 to 0.3", "1", "1", "2.0", "edge; not used"]),
    ],
)
def test_a_row_has_rate_grid_trials_and_hours_of_its_search(results, trials, chosen, edge, row):
    stored(results, trials, chosen, edge)
    assert texts(results, "mini-a/slq") == row


def test_a_rate_that_no_search_has_chosen_says_so(results):
    stored(results, TRIALS, 0.03, None)
    assert texts(results, "mini-a/full_ft") == ["0.03", *[""] * 7]
    assert "Not searched: Full FT on A-mini." in tables(MINI, results)["rates"].notes
