"""Base's scores against published ones: within, off, not run, stand-ins, and what claims and Table 3 say then."""

from pathlib import Path

import pytest

from slq.claims.base_check import check_base_scores
from slq.claims.judge import judge_claims
from slq.common.files import read_json
from slq.evaluation.reply import Reply, build_answered_items
from slq.evaluation.statistics import accuracy_interval
from stored import MINI, PAPER, REFERENCE, Runs, asked, entries, tables, write_answers

LAYOUT = PAPER | {
    "backbones": entries(("InternVL3-1B", "InternVL3-1B", "InternVL3-1B")),
    "retention_datasets": asked(("realworldqa", "RealWorldQA", "realworldqa"), ("ocrbench", "OCRBench", "ocrbench")),
}
PUBLISHED = {"realworldqa": 58.2, "ocrbench": 790}
COUNTS = {"realworldqa": 500, "ocrbench": 1000}
PRINTED = {"realworldqa": "vlmevalkit-exact-2", "ocrbench": "ocrbench-vlmevalkit-1"}


def answer(results: Path, name: str, hits: int, right: str = "red", printed: str = "") -> None:
    """Write base's answers to questions whose answer is red: so many of them are `right`, and the others blue."""
    count, path = COUNTS[name], Runs(results, "paper").folder("InternVL3-1B", "base") / "retention" / f"{name}.json"
    items = [{"id": f"q{n}", "question": "?", "options": [], "answers": ["red"], "type": "open"} for n in range(count)]
    replies = [Reply(f"<prompt {n}>", right if n < hits else "blue", 2, True) for n in range(count)]
    write_answers(path, name, printed or PRINTED[name], build_answered_items(items, replies))


def checked(results: Path, layout=LAYOUT):
    check_base_scores(layout, results, REFERENCE, results / "base_check.json")
    return {one["dataset"]: one for one in read_json(results / "base_check.json")["checks"]}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    Runs(folder, "paper").run("InternVL3-1B", "base", trained=0)
    return folder


@pytest.mark.parametrize(("name", "label"), [("realworldqa", "RealWorldQA"), ("ocrbench", "OCRBench")])
@pytest.mark.parametrize("off", [False, True])
def test_a_score_is_within_if_the_published_one_lies_in_the_interval_of_ours(results, name, label, off):
    """Scores of OCRBench are hits of 1,000 questions; all others are percentages."""
    count, scale = COUNTS[name], COUNTS[name] / 100 if name == "ocrbench" else 1
    published = round(PUBLISHED[name] / scale * count / 100)
    margin = next(n for n in range(count) if accuracy_interval(published - n, count).high < PUBLISHED[name] / scale)
    hits = published - margin + (not off)  # one hit decides
    answer(results, name, hits)
    found = checked(results)[label]
    assert found["state"] == ("off" if off else "within")
    assert found["published"] == PUBLISHED[name] and found["measured"] == pytest.approx(scale * 100 * hits / count)
    assert (found["low"] <= PUBLISHED[name] <= found["high"]) is not off
    assert "arXiv 2504.10479" in found["published_source"] and found["scorer"] == PRINTED[name]
    assert found["prompt"] == "<prompt 0>"


def test_the_verdict_is_by_the_printed_scorer_beside_the_scores_of_all_others(results):
    """The printed scorer accepts `Red.`, and one of the others does not."""
    answer(results, "realworldqa", 291, right="Red.")
    found = checked(results)["RealWorldQA"]
    assert (found["state"], found["scorer"]) == ("within", "vlmevalkit-exact-2")
    assert found["other_scores"] == pytest.approx({"first-letter-1": 0.0, "lmms-eval-realworldqa-2": 58.2})
    answer(results, "realworldqa", 291, right="Red.", printed="first-letter-1")
    other = checked(results)["RealWorldQA"]
    assert (other["state"], other["deviation"]) == ("off", "\N{MINUS SIGN}58.2")
    assert other["other_scores"]["vlmevalkit-exact-2"] == pytest.approx(58.2)


def test_what_was_not_run_or_stands_in_is_not_tested(results, tmp_path):
    answer(results, "realworldqa", 291)
    found = checked(results)["OCRBench"]
    assert (found["state"], found["measured"]) == ("not tested", None) and "does not exist" in found["reason"]
    stand_ins = checked(tmp_path / "results", MINI)
    assert {one["state"] for one in stand_ins.values()} == {"not tested"}
    assert all(one["reason"].startswith("stand-in: ") for one in stand_ins.values())


def notes(results: Path, layout) -> list[str]:
    """Return the notes of Table 3 about base."""
    return [note for note in tables(layout, results)["table3"].notes if "relative to our base only" in note]


def test_table_3_says_relative_to_our_base_only_unless_base_meets_every_score(results, tmp_path):
    answer(results, "realworldqa", 291)
    (note,) = notes(results, LAYOUT)
    assert note.endswith("published scores were not met: InternVL3-1B on OCRBench (not tested).")
    answer(results, "ocrbench", 700)
    (note,) = notes(results, LAYOUT)
    assert note.endswith("InternVL3-1B on OCRBench (\N{MINUS SIGN}90).")
    answer(results, "ocrbench", 790)
    assert notes(results, LAYOUT) == []
    assert notes(tmp_path / "none", MINI) == []


def test_claims_about_scores_say_it_too_and_others_do_not(results, tmp_path):
    for name, hits in (("realworldqa", 250), ("ocrbench", 790)):
        answer(results, name, hits)
        runs = Runs(results, "paper")
        runs.run("InternVL3-1B", "slq", 64)
        runs.inherited("InternVL3-1B", "slq", name)
    judge_claims(LAYOUT | {"synthetic": []}, results, REFERENCE, tmp_path / "claims.json")
    claims = read_json(tmp_path / "claims.json")["claims"]
    told = {one["id"] for one in claims if "relative to our base only" in one["reason"]}
    tested = {one["id"] for one in claims if one["verdict"] != "not tested"}
    assert told and told <= tested
    assert all("InternVL3-1B" in one for one in told)
