"""The checkpoint of answers: kept after kills and torn lines, with one writer at a time and equal final bytes."""

import json
import multiprocessing
import random
import shutil
import time

import pytest

from sliced import BACKBONE, SETS
from slq.common.errors import SlqError
from slq.config import job_settings
from slq.evaluation.retention import AnswerCheckpoint, answers_cache_key, evaluate_retention

IDS = [f"q{number}" for number in range(10)]
LINES = [{"id": name, "answer": f"reply \N{SNOWMAN} {name}", "tokens": 3} for name in IDS]


def finish(path, size=3):
    """Answer the items that are missing, and return how many there were."""
    with AnswerCheckpoint(path, IDS, size) as so_far:
        done = len(so_far.answered_items)
        for start in range(done, len(IDS), size):
            so_far.append_batch(LINES[start : start + size])
        assert so_far.answered_items == LINES
    return len(IDS) - done


def test_what_was_cut_off_anywhere_is_answered_again_and_nothing_else(tmp_path):
    """A kill may cut the file at the end of a line, next to it, or within a line."""
    path = tmp_path / "work" / "set.jsonl"
    assert finish(path) == 10
    whole = path.read_bytes()
    ends = [whole.index(b"\n", whole.index(f'"{name}"'.encode())) + 1 for name in IDS]
    near = {end + step for end in ends for step in (-1, 0, 1) if end + step < len(whole)}
    for cut in sorted({*range(0, len(whole), 11), *near}):
        path.write_bytes(whole[:cut])
        lines = sum(end <= cut for end in ends)
        assert finish(path) == 10 - lines // 3 * 3
        assert path.read_bytes() == whole
    assert finish(path) == 0


def test_a_second_process_stops_and_names_the_file(tmp_path):
    path = tmp_path / "set.jsonl"
    with AnswerCheckpoint(path, IDS, 3) as so_far:
        with pytest.raises(SlqError, match=r"set\.jsonl: another process is adding answers to this file"):
            finish(path)
        so_far.append_batch(LINES[:3])
    assert finish(path) == 7


def test_a_discarded_file_is_gone_and_can_begin_anew(tmp_path):
    path = tmp_path / "set.jsonl"
    with AnswerCheckpoint(path, IDS, 3) as so_far:
        so_far.append_batch(LINES[:3])
        so_far.delete()
        assert not path.exists()
    assert finish(path) == 10


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([LINES[0], LINES[0], LINES[2]], r":2: answers item 'q0', expected 'q1'; delete the file"),
        ([LINES[0], LINES[2], LINES[3]], r":2: answers item 'q2', expected 'q1'"),
        ([*LINES, LINES[0]], r": contains 11 answers, but there are only 10 items"),
        (["x", LINES[0], LINES[1]], r":1: not a JSON object"),
    ],
    ids=["twice", "missing", "too many", "no answer"],
)
def test_answers_to_other_items_are_an_error(tmp_path, lines, message):
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SlqError, match=rf"set\.jsonl{message}"):
        finish(path)
    path.unlink()
    assert finish(path) == 10


# ---- a run's answers, killed and resumed -----------------------------------------------------------------------------


def ask(slice_, folder, with_images=True, code="code"):
    """Run the rule `retain` or `blind` for base, in batches of two, so that there are many."""
    how = job_settings.retention_settings(slice_.config, BACKBONE) | {"batch_size": 2, "max_new_tokens": 4}
    paths = (slice_.snapshot, slice_.root / "base/adapter", slice_.tests, folder / "work", folder / "out")
    evaluate_retention(how, code, *paths, folder / "events.jsonl", folder / "retained.json", with_images)


def results(folder):
    return {path.name: path.read_bytes() for path in sorted((folder / "out").iterdir())}


def done(folder):
    """Size in bytes of the answers so far, over all datasets."""
    return sum(path.stat().st_size for path in (folder / "work").rglob("*.jsonl"))


def test_killed_ten_times_and_continued_the_answers_are_the_same_bytes(slice_, tmp_path):
    ask(slice_, tmp_path / "whole")
    expected = results(tmp_path / "whole")
    assert len(expected) == 3 * len(SETS)
    folder, draw = tmp_path / "killed", random.Random(1)
    total = sum(len(data) for name, data in expected.items() if name.endswith(".answers.jsonl"))
    process = multiprocessing.get_context("fork")
    seen = [0]
    for _ in range(10):
        child = process.Process(target=ask, args=(slice_, folder))
        child.start()
        more = draw.choice([0, 1, 1])  # about one in three may be killed before it adds anything
        while done(folder) < seen[-1] + more and child.is_alive():
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -9, "the kill came too late to be one"
        shutil.rmtree(folder / "out", ignore_errors=True)  # as Snakemake deletes declared outputs
        seen.append(done(folder))
    assert 0 < seen[5] < seen[-1] < total
    child = process.Process(target=ask, args=(slice_, folder))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert results(folder) == expected
    assert (folder / "retained.json").read_bytes() == (tmp_path / "whole" / "retained.json").read_bytes()
    assert not list((folder / "work").rglob("*.jsonl")), "finished answers are removed once they are where they belong"


def test_only_answers_of_the_same_kind_are_continued(slice_):
    how = job_settings.retention_settings(slice_.config, BACKBONE)
    inputs = {"adapter": "a", "backbone": "b", "dataset": "s", "settings": "t"}
    keys = [answers_cache_key(how, "code", inputs, True), answers_cache_key(how, "code", inputs, False)]
    keys += [
        answers_cache_key(how, "other", inputs, True),
        answers_cache_key(how | {"family": "other"}, "code", inputs, True),
    ]
    keys += [answers_cache_key(how, "code", inputs | {name: "other"}, True) for name in inputs]
    assert len(set(keys)) == len(keys)
    assert answers_cache_key(how | {"datasets": []}, "code", inputs, True) == keys[0], (
        "another scorer, or dataset, changes no answer"
    )
