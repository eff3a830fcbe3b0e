"""How often two results that differ only by chance are called different: no more often than stated."""

import itertools
from functools import partial

import numpy as np
import pytest

from comparing import IMAGES, compared, draw, draw_run, settings
from slq.common.files import read_json
from slq.evaluation.statistics import RESAMPLES, bootstrap_percentages, recall_intervals
from slq.reporting.comparison.metric_values import CellKey, MetricValue, SampleStatistics, parse_comparison_settings
from slq.reporting.comparison.significance import holm_correction, sign_flip_p, t_critical, t_test_p
from slq.reporting.comparison.verdicts import judge_cells
from slq.results.cells import format_one_decimal
from stored import Runs, recalls

F = "mini-a/slq/seed1/retrieval/mini-f.json"


@pytest.fixture
def fewer_draws(monkeypatch):
    """Patch to a tenth of a bootstrap's draws: no test on items uses its ends, and with seeds they are close enough."""
    draws = RESAMPLES // 10
    monkeypatch.setattr("slq.evaluation.retrieval_metrics.recall_intervals", partial(recall_intervals, resamples=draws))
    monkeypatch.setattr(
        "slq.reporting.comparison.significance.bootstrap_percentages", partial(bootstrap_percentages, resamples=draws)
    )


def pairs_with_a_difference(found):
    return sum(one["counts"]["differs"] > 0 for one in found)


def test_luck_alone_differs_no_more_often_than_the_stated_rate(fewer_draws, tmp_path):
    """Twelve pairs of runs differ only by luck on the items, without a tolerance that could hide it.

    In at most 5 % of comparisons any of the 13 cells may differ. Of 12 comparisons, four or more would do so with
    probability 1 in 450.
    """
    random = np.random.default_rng(2)
    trees = [draw_run(tmp_path / str(number), random) for number in range(24)]
    strict = settings(recall=0, score=0)
    found = [compared(tmp_path / "out.json", *two, how=strict) for two in zip(trees[::2], trees[1::2], strict=True)]
    assert pairs_with_a_difference(found) <= 3
    assert min(one["counts"]["inside noise"] for one in found) >= 8  # chance moves nearly every cell


def test_another_seed_differs_no_more_often_than_the_stated_rate(fewer_draws, tmp_path):
    """A seed moves a whole run, here by 5 points (sd), which the items do not show, so their spread is not enough.

    The same runs differ more often if they claim to have one seed: then only luck on the items is assumed.
    """
    random = np.random.default_rng(3)
    two_seeds, one_seed = [], []
    for number, moves in enumerate(random.normal(0, 0.3, (12, 2))):  # in logits
        trees = [draw_run(tmp_path / f"{number} {seed}", random, seed, moves[seed - 1]) for seed in (1, 2)]
        two_seeds.append(compared(tmp_path / "out.json", *trees, how=settings(recall=0, score=0)))
        (trees[1] / "mini-a/slq/seed2").rename(trees[1] / "mini-a/slq/seed1")
        one_seed.append(compared(tmp_path / "out.json", *trees, how=settings(recall=0, score=0)))
    assert pairs_with_a_difference(two_seeds) <= 3 < pairs_with_a_difference(one_seed)
    assert any("with 7.1 of standard deviation from seeds" in cell["reason"] for cell in two_seeds[0]["cells"])


def test_what_no_seed_does_differs_from_another_seed_too(fewer_draws, tmp_path):
    random = np.random.default_rng(6)
    one, other = (draw_run(tmp_path / str(seed), random, seed, shift) for seed, shift in ((1, 0.0), (2, -3.0)))
    assert compared(tmp_path / "out.json", one, other)["counts"]["differs"] > 8


def test_without_a_word_on_seeds_one_seed_is_not_told_from_another(tmp_path):
    for seed in (1, 2):
        runs = Runs(tmp_path / str(seed) / "results", "mini", seed)
        for method in ("base", "full_ft"):
            runs.run("mini-a", method, trained=0)
            runs.retrieval("mini-a", method, "mini-f", recalls(30.0 * seed), images=5000)
    found = compared(tmp_path / "out.json", tmp_path / "1/results/mini", tmp_path / "2/results/mini")
    reasons = {
        (cell["method"], cell["verdict"]): cell["reason"] for cell in found["cells"] if cell["metric"] == "t2i R@1"
    }
    assert "seed_sd of the preset does not say how far a seed moves recalls" in reasons["full_ft", "inside noise"]
    assert reasons["base", "differs"].endswith("intervals of both numbers")  # base has no seed


def test_the_test_on_items_rejects_at_its_level_and_not_more():
    """Without a difference, p is below 0.05 in 5 % of draws plus three standard errors at most; with one, in most."""
    random = np.random.default_rng(4)

    def rejected(shift):
        count = 0
        for _ in range(600):
            one, other = (np.array(draw(random, 0.5, move)[0]).reshape(IMAGES, -1) == 1 for move in (0.0, shift))
            count += sign_flip_p(one.sum(1) - other.sum(1)) < 0.05
        return count / 600

    assert rejected(0.0) <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5
    assert rejected(0.6) > 0.8


def test_several_seeds_differ_no_more_often_than_the_stated_rate():
    """Means over three and four seeds are compared; a seed moves a run by a point and a half, the same on all items."""
    random = np.random.default_rng(5)
    catalogue = parse_comparison_settings(settings(recall=0))

    def differing(shift, draws=1000):
        count = 0
        for _ in range(draws):
            a, b = (random.normal(70 + move, 1.5, seeds) for move, seeds in ((0, 3), (shift, 4)))
            numbers = [
                MetricValue(tuple(values), "recall", format_one_decimal, (), sample=SampleStatistics(65, 75, 200, 1000))
                for values in (a, b)
            ]
            verdict = judge_cells({CellKey("a", "slq", "f", "t2i R@1"): tuple(numbers)}, catalogue, "mini")
            count += next(iter(verdict.values())).verdict == "differs"
        return count / draws

    assert abs(differing(0) - 0.05) <= 3 * (0.05 * 0.95 / 1000) ** 0.5  # one cell: exactly at its level
    assert differing(6) > 0.9


def test_of_a_hundred_cells_none_differs_by_chance_at_the_stated_rate():
    """A hundred comparisons have a hundred cells each; tested cell by cell, nearly all would have a difference."""
    random = np.random.default_rng(9)
    catalogue = parse_comparison_settings(settings(recall=0))
    counted = SampleStatistics(65, 75, 200, 1000)
    wrong = 0
    for values in random.normal(70, 1.5, (100, 100, 2, 3)):
        pairs = {
            CellKey("a", "slq", str(number), "t2i R@1"): tuple(
                MetricValue(tuple(side), "recall", format_one_decimal, (), sample=counted) for side in sides
            )
            for number, sides in enumerate(values)
        }
        wrong += any(cell.verdict == "differs" for cell in judge_cells(pairs, catalogue, "mini").values())
    assert wrong <= 100 * (0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5)


def test_the_spread_of_several_seeds_decides_where_there_are_some(tmp_path):
    """Two points are judged between single runs, and between means of seeds that are themselves two points apart."""
    for side, moved in (("one", 0.0), ("other", 2.0)):
        for seed in (1, 2, 3):
            runs = Runs(tmp_path / side / "results", "mini", seed)
            runs.run("mini-a", "slq")
            runs.retrieval("mini-a", "slq", "mini-f", recalls(70.0 + moved + 2 * seed))
    found = compared(tmp_path / "out.json", tmp_path / "one/results/mini", tmp_path / "other/results/mini")
    cell = found["cells"][0]
    assert cell["verdict"] == "inside noise" and cell["delta"] == pytest.approx(-2)
    assert "Student's t over 3 and 3 seeds" in cell["reason"]
    half = 2.776 * 2 * (2 / 3) ** 0.5  # t of 4 degrees of freedom, sd 2
    assert cell["interval"] == pytest.approx([-2 - half, -2 + half], abs=1e-3)


def test_three_seeds_on_the_same_items_are_paired_by_seed(fewer_draws, tmp_path):
    """Each seed moves both sides alike and far, so that only the differences at equal seed show the difference."""
    random = np.random.default_rng(7)
    for seed, move in ((1, -1.0), (2, 0.0), (3, 1.0)):
        for side, shift in (("one", 1.0), ("other", 0.0)):
            draw_run(tmp_path / side, random, seed, move + shift)
    found = compared(tmp_path / "out.json", tmp_path / "one/results/mini", tmp_path / "other/results/mini")
    cell = next(one for one in found["cells"] if (one["benchmark"], one["metric"]) == ("mini-f", "t2i R@1"))
    recalls = {
        side: [
            read_json(tmp_path / side / f"results/mini/mini-a/slq/seed{seed}/retrieval/mini-f.json")["metrics"]["t2i"][
                "R@1"
            ]
            for seed in (1, 2, 3)
        ]
        for side in ("one", "other")
    }
    by_seed = np.subtract(recalls["one"], recalls["other"])
    assert cell["delta"] == pytest.approx(by_seed.mean())
    student = t_critical(2) * by_seed.std(ddof=1) / 3**0.5
    low, high = cell["interval"]
    assert low < by_seed.mean() - student and by_seed.mean() + student < high
    assert high - low < 2 * t_critical(4) * np.std(recalls["one"], ddof=1) * (2 / 3) ** 0.5  # unpaired
    assert "Student's t over 3 pairs of equal seed, and the same items" in cell["reason"]
    assert "these runs only" not in cell["reason"]


def test_a_test_of_single_runs_says_that_it_is_about_these_runs_only(fewer_draws, tmp_path):
    random = np.random.default_rng(9)
    trees = [draw_run(tmp_path / str(number), random, shift=shift) for number, shift in enumerate((0.0, -3.0))]
    found = compared(tmp_path / "out.json", *trees)
    assert found["counts"]["differs"] > 8
    assert all("; about these runs only" in cell["reason"] for cell in found["cells"] if cell["verdict"] == "differs")


@pytest.mark.parametrize("gains", [[3, -1, 1], [5, 5, -2, 1, 1, 0], [1, 1, 1, 1, -1], [0, 0], [-4, -4, 2, 1, 1, 3, -1]])
def test_sign_flips_equal_an_enumeration(gains):
    sums = [abs(sum(map(np.multiply, gains, signs))) for signs in itertools.product((1, -1), repeat=len(gains))]
    share = sum(one >= abs(sum(gains)) for one in sums) / len(sums)
    assert sign_flip_p(np.array(gains)) == pytest.approx(share)


def test_students_t_equals_its_tables():
    for freedom, bound in ((1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (10, 2.228), (30, 2.042)):
        assert t_critical(freedom) == pytest.approx(bound, abs=5e-4)
        assert t_test_p(-bound, freedom) == pytest.approx(0.05, abs=1e-4)


def test_holm_corrects_by_how_many_are_left():
    assert holm_correction({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm_correction({}) == {}
