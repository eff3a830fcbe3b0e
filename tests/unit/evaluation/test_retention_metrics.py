"""Metrics files compared with counts written out, and stored answers scored again."""

import json
import shutil
from dataclasses import replace

import pytest

from slq.cli import main
from slq.common.errors import SlqError
from slq.common.files import read_json, read_jsonl, write_json, write_jsonl
from slq.evaluation import scorers
from slq.evaluation.answer_matching import Judgement
from slq.evaluation.reply import ITEM_FIELDS, Reply, build_answered_items
from slq.evaluation.rescoring import rescore_folder
from slq.evaluation.retention_metrics import SCHEMA, compute_chance_levels, questions_hash, score_answers
from stored import write_answers

FRUIT = ["apple", "banana", "cherry", "dragon fruit"]


def item(id_, type_, answers, options=()):
    return {"id": id_, "question": f"{id_} ?", "options": list(options), "answers": answers, "type": type_}


# id, type, accepted, options, reply. Ten items of three types, two of them open.
TEN = [
    (item("a", "fruit", ["A"], FRUIT), "A"),
    (item("b", "fruit", ["B"], FRUIT), "It is A or B"),  # unparsed by VLMEvalKit, B by MMMU's parser
    (item("c", "fruit", ["C"], FRUIT[:3]), "no idea"),
    (item("d", "fruit", ["D"], FRUIT), "(D)"),
    (item("e", "color", ["red"]), "red"),
    (item("f", "color", ["Red.", "crimson"]), "crimson"),
    (item("g", "color", ["blue"]), "red"),
    (item("h", "color", ["green", "lime"]), "a green one"),  # contains it: a hit of MMMU's parser only
    (item("i", "count", ["2"]), "2.0"),
    (item("j", "count", ["2", "two"]), "three"),
]


def said(items, texts):
    return build_answered_items(items, [Reply("prompt", text, len(text), text != "no idea") for text in texts])


@pytest.fixture
def ten():
    return said([entry for entry, _ in TEN], [reply for _, reply in TEN])


def test_chance_by_a_count_written_out(ten):
    """Fruit: 1/4, 1/4, 1/3, 1/4. Color: red is accepted by two of four. Count: 2 is accepted by both."""
    assert compute_chance_levels(ten) == pytest.approx([25, 25, 100 / 3, 25, 50, 50, 50, 50, 100, 100])
    content, _ = score_answers("mmmu", "vlmevalkit-exact-2", ten)
    assert content["chance"] == pytest.approx((3 * 25 + 100 / 3 + 4 * 50 + 2 * 100) / 10)
    chances = {type_: values["chance"] for type_, values in content["types"].items()}
    assert chances == pytest.approx({"fruit": (75 + 100 / 3) / 4, "color": 50, "count": 100})


def test_an_open_questions_options_elsewhere_do_not_count_towards_its_chance():
    mixed = [item("a", "same", ["A"], FRUIT), item("b", "same", ["red"]), item("c", "same", ["blue"])]
    assert compute_chance_levels(mixed) == [25, 50, 50]


def test_every_scorer_reads_the_same_answers_and_one_is_printed(ten):
    content, differing = score_answers("mmmu", "vlmevalkit-exact-2", ten)
    assert content["scores"] == {
        "vlmevalkit-exact-2": 50.0,  # a, d, e, f, i
        "mmmu-official-1": 70.0,  # b and h too
        "mmmu-lmms-eval-2": 70.0,
        "first-letter-1": 40.0,  # not i: 2.0 is not 2, letter by letter
    }
    assert (content["scorer"], content["metrics"]) == ("vlmevalkit-exact-2", {"score": 50.0, "accuracy": 50.0})
    assert [line["id"] for line in differing] == ["b", "h", "i"] and content["disagreements"] == 3
    assert differing[0]["reply"] == "It is A or B"
    assert differing[0]["judgements"]["vlmevalkit-exact-2"] == {
        "is_correct": False,
        "reason": "unparsed",
        "parsed": None,
    }
    assert differing[0]["judgements"]["mmmu-official-1"]["parsed"] == "B"
    other, _ = score_answers("mmmu", "mmmu-official-1", ten)
    assert other["metrics"]["score"] == 70.0
    assert {key for key in content if content[key] != other[key]} == {"scorer", "metrics", "types"}


def test_what_guessing_would_have_added(ten):
    """MMMU's parser reads no option in "no idea", one of four items with options: a guess among three, in ten items."""
    content, _ = score_answers("mmmu", "vlmevalkit-exact-2", ten)
    assert content["random_guess"] == pytest.approx(100 / 3 / 10)
    assert score_answers("realworldqa", "vlmevalkit-exact-2", ten)[0]["random_guess"] is None


@pytest.mark.parametrize(("benchmark", "printed"), [("mmmu", "mmmu-official-1"), ("ocrbench", "ocrbench-vlmevalkit-1")])
def test_types_sum_up_to_the_whole(ten, benchmark, printed):
    content, _ = score_answers(benchmark, printed, ten)
    types = content["types"].values()
    assert sum(one["n"] for one in types) == content["n"]["items"] == 10
    assert sum(one["n"] * one["score"] for one in types) == pytest.approx(10 * content["metrics"]["accuracy"])
    assert sum(one["n"] * one["chance"] for one in types) == pytest.approx(10 * content["chance"])


def test_replies_that_ran_into_the_limit_are_counted(ten):
    assert score_answers("mmmu", "vlmevalkit-exact-2", ten)[0]["truncated"] == 1


def test_ocrbench_counts_hits(ten):
    content, _ = score_answers("ocrbench", "ocrbench-vlmevalkit-1", ten)
    assert content["metrics"] == {"score": 7.0, "accuracy": 70.0}  # all but c, g and j contain an answer


# ---- slq score -------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(ten, tmp_path):
    """Results folder with the answers and metrics of two runs."""
    for run in ("one", "two"):
        write_answers(tmp_path / "results" / run / "retention" / "mmmu.json", "mmmu", "vlmevalkit-exact-2", ten)
    blind = said([entry for entry, _ in TEN], ["A"] * 10)
    write_answers(tmp_path / "results" / "one" / "blind" / "mmmu.json", "mmmu", "vlmevalkit-exact-2", blind)
    return tmp_path / "results"


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_stored_answers_score_as_they_did(results, capsys):
    before = bytes_of(results)
    assert main(["score", str(results)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 1 + 3 * 4
    for line in table[1:]:
        _, _, then, now = line.split()
        assert then == now
    assert table[4].split() == [str(results / "one/blind/mmmu.json"), "vlmevalkit-exact-2*", "10.00", "10.00"]
    assert bytes_of(results) == before


def test_a_changed_scorer_is_noticed_and_written_on_request_alone(results, monkeypatch, capsys):
    before = bytes_of(results)
    strict = replace(scorers.SCORERS["first-letter-1"], rule=lambda item, reply: Judgement(False, "never", None))
    monkeypatch.setitem(scorers.SCORERS, "first-letter-1", strict)
    assert main(["score", str(results)]) == 1
    shown = capsys.readouterr()
    assert "3 of 3 metrics files do not match their ranks or answers" in shown.err
    first = next(line for line in shown.out.splitlines() if "two" in line and "first-letter-1" in line)
    assert first.split()[1:] == ["first-letter-1", "40.00", "0.00"]
    assert "does not match its answers: disagreements, scores, the disagreements file" in shown.out
    assert bytes_of(results) == before
    assert main(["score", str(results), "--write"]) == 0
    assert main(["score", str(results)]) == 0
    stored = read_json(results / "two/retention/mmmu.json")
    assert stored["scores"]["first-letter-1"] == 0 and stored["inputs"]["dataset"] == "of the dataset"


def test_a_verdict_that_moves_between_two_items_is_noticed(results, monkeypatch):
    """No score changes, but the items on which the scorers differ do."""
    rule = scorers.SCORERS["first-letter-1"].rule
    swap = {"a": False, "b": True}
    moved = replace(
        scorers.SCORERS["first-letter-1"],
        rule=lambda item, reply: replace(
            rule(item, reply), is_correct=swap.get(item["id"], rule(item, reply).is_correct)
        ),
    )
    monkeypatch.setitem(scorers.SCORERS, "first-letter-1", moved)
    with pytest.raises(SlqError, match="3 of 3 metrics files"):
        rescore_folder(results, write=False)


def edit_lines(path, change):
    lines = read_jsonl(path)
    change(lines)
    write_jsonl(path, lines)


def edit_json(path, change):
    content = read_json(path)
    change(content)
    write_json(path, content)


ANSWERS = "one/retention/mmmu.answers.jsonl"
METRICS = "one/retention/mmmu.json"
FAULTS = {
    "an item is missing": (ANSWERS, lambda lines: lines.pop(), "contains 9 answers, but the dataset has 10 items"),
    "an id stands twice": (
        ANSWERS,
        lambda lines: lines[4].update(id="b"),
        r"mmmu\.answers\.jsonl:5: id 'b' occurs twice",
    ),
    "another version of the dataset": (
        ANSWERS,
        lambda lines: lines[4].update(answers=["scarlet"]),
        r"its questions are not those of mmmu\.json \(inputs\.questions\), so these are answers to another version",
    ),
    "another order": (ANSWERS, lambda lines: lines.reverse(), "answers to another version of the dataset"),
    "no gold": (ANSWERS, lambda lines: lines[2].pop("answers"), r"jsonl:3: 'answers' must be a list, found None"),
    "an unknown scorer": (
        METRICS,
        lambda content: content.update(scorer="first-letter-0"),
        r"mmmu\.json: scorer 'first-letter-0' does not apply to 'mmmu'; expected one of vlmevalkit-exact-2, ",
    ),
    "an older schema": (
        METRICS,
        lambda content: content.update(schema=3),
        r"mmmu\.json: schema 3, not 4: written by a version before",
    ),
    "no hash": (METRICS, lambda content: content["inputs"].clear(), r"mmmu\.json: key 'questions' is missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_message_and_nothing_is_written(results, fault, capsys):
    name, change, message = FAULTS[fault]
    (edit_lines if name.endswith("jsonl") else edit_json)(results / name, change)
    before = bytes_of(results)
    with pytest.raises(SlqError, match=message):
        rescore_folder(results, write=True)
    assert bytes_of(results) == before
    assert main(["score", str(results)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("name", [METRICS, ANSWERS, "one/retention/mmmu.disagreements.jsonl"])
def test_a_missing_file_is_named(results, name):
    (results / name).unlink()
    with pytest.raises(SlqError, match=rf"{name}: (does not exist|cannot be read)"):
        rescore_folder(results, write=False)


def test_a_folder_without_answers_is_no_success(results, tmp_path):
    shutil.rmtree(results)
    with pytest.raises(SlqError, match=r"contains no retention/<dataset>\.answers\.jsonl"):
        rescore_folder(tmp_path, write=False)


def test_the_hash_of_what_was_asked_knows_every_field_and_no_answer(ten):
    whole = questions_hash(ten)
    assert questions_hash([line | {"answer": "other"} for line in ten]) == whole
    for field in ITEM_FIELDS:
        other = json.loads(json.dumps(ten))
        other[3][field] = ["changed"] if isinstance(other[3][field], list) else "changed"
        assert questions_hash(other) != whole, field
    assert SCHEMA == 4
