"""Learning-rate search: which rate the trials choose, which rates are tried next, and what is written about it."""

import itertools

import pytest

from slq.common.files import read_json, write_json
from slq.training.lr_sweep import choose_learning_rate

SETTINGS = {"method": "slq", "rates": 3, "factor": 3, "extensions": 2}
RATES = (0.01, 0.03, 0.09, 0.27, 0.81)


def search(folder, sums, rates=RATES, settings=SETTINGS):
    """Write a trial for each sum of recalls on val (None: diverged), and return what the search says of them."""
    files = []
    for number, (rate, value) in enumerate(zip(rates, sums, strict=False)):
        earlier = {"t2i": {"R@1": 99.0}, "i2t": {"R@1": 99.0}}  # of another epoch, which is not the run's
        val = value if value is None else {"t2i": {"R@1": value}, "i2t": {"R@1": 0.0}}
        run = {"settings": {"hyperparameters": {"learning_rate": rate}}, "method": f"slq/lr{rate:g}"}
        run |= {"val": val and {"recalls": [earlier, val], "selected_epoch": 1}, "spans": {"init": 900, "train": 900}}
        run |= {"device": {"kind": "cuda", "name": "a", "count": 2}} | ({} if val else {"diverged": "loss is nan"})
        files.append(folder / f"{number}.json")
        write_json(files[-1], run)
    choose_learning_rate(settings, files[::-1], folder / "out.json")
    return read_json(folder / "out.json")


def expected(sums):
    """The rule written as a loop: the first rate that no rate exceeds, and whether a trial lies on either side."""
    best = None
    for place, value in enumerate(sums):
        if value is not None and (best is None or value > sums[best]):
            best = place
    if best is None or best == 0:
        return best, "lower"
    return best, "upper" if best == len(sums) - 1 else None


@pytest.mark.parametrize("sums", itertools.product((None, 1.0, 2.0), repeat=3))
def test_the_choice_is_that_of_a_loop_over_rates(tmp_path, sums):
    """All ties, edges and divergences of three rates."""
    found = search(tmp_path, sums)
    best, edge = expected(sums)
    assert found["learning_rate"] == (None if best is None else RATES[best])
    assert found["edge"] == edge
    assert found["next_rates"] == {None: [], "lower": [0.0033], "upper": [0.27]}[edge]
    assert [trial["learning_rate"] for trial in found["trials"]] == list(RATES[:3])
    assert [trial["val"] is None for trial in found["trials"]] == [value is None for value in sums]
    assert [trial["diverged"] for trial in found["trials"]] == [None if value else "loss is nan" for value in sums]
    assert found["hours"] == pytest.approx(3 * 1.0)


def test_a_grid_is_extended_until_the_best_lies_inside_it_or_extensions_are_used_up(tmp_path):
    rising = (1.0, 2.0, 3.0, 4.0, 5.0)
    assert [search(tmp_path, rising[:count])["next_rates"] for count in (3, 4, 5)] == [[0.27], [0.81], []]
    assert search(tmp_path, rising)["edge"] == "upper"
    inside = search(tmp_path, (1.0, 2.0, 3.0, 2.0))
    assert (inside["edge"], inside["next_rates"], inside["learning_rate"]) == (None, [], 0.09)
    assert search(tmp_path, rising[:3], settings=SETTINGS | {"extensions": 0})["next_rates"] == []
