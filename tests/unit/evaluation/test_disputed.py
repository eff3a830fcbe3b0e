"""Commits of fetched data, and disputed items in metrics and tables."""

import re

import pytest

from fetching import fetch
from hubrows import mmmu
from listed import prepare
from loopback import Hub, commit_of, serve
from slq.cli import main
from slq.common.errors import SlqError
from slq.common.files import read_json, write_json, write_jsonl
from slq.common.snapshots import write_manifest
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.datasets.splits import read_split
from slq.evaluation.reply import Reply, build_answered_items
from slq.evaluation.retention import write_retention_results
from slq.evaluation.retention_metrics import require_disputed_items
from slq.synthetic.datasets import write_hub_files
from stored import MINI, mini_results, tables, write_answers

PINNED = {
    "InternVL3-1B": "014c0583a0d4bedf29fbe2dbff4f865eb998e171",
    "InternVL3-8B": "259a3b64a14623c0ec91a045cb43f7c5af5fa6af",
    "Qwen3-VL-2B": "89644892e4d85e24eaac8bacfd4f463576704203",
    "Qwen3-VL-4B": "ebb281ec70b05090aa6165b016eac8ec08e71b17",
    "BLIP-ITM-large": "c0273606af96037e7a3b2fb0ff4ae9620b517be6",
}
COMMIT = "0123456789abcdef" * 2 + "01234567"
ASKED = {"name": "mmmu", "benchmark": "mmmu", "scorer": "vlmevalkit-exact-2"}
ORIGIN = {"from": "dataset:MMMU/MMMU@main", "commit": COMMIT}
BOUNDS = {
    "score_if_wrong": 43.11,
    "score_if_correct": 43.33,
    "items": [{"id": "validation_Art_Theory_4"}, {"id": "validation_Design_15"}],
}


# ---- commits ---------------------------------------------------------------------------------------------------------


def test_models_of_the_paper_are_fetched_at_a_commit_that_is_said_not_to_be_fetched_yet(raw_config, capsys, pristine):
    assert main(["sources", "--config", str(pristine / "config.yaml")]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    for name, commit in PINNED.items():
        assert f"@{commit} (commit from a public listing, not fetched here)" in rows[name]
    assert "from a public listing" not in rows["CLIP-ViT-B-32"]
    given = job_settings.fetch_settings(validate_config(raw_config), "backbones", "InternVL3-1B", dict)
    assert given["parts"] == [{"model": "OpenGVLab/InternVL3-1B-hf", "revision": PINNED["InternVL3-1B"]}]


def test_a_pinned_commit_is_fetched_whatever_main_has_become_and_is_locked(tmp_path):
    old, new = ({"config.json": b"{}", "model.safetensors": body} for body in (b"old", b"new"))
    part = {"model": "org/name", "revision": commit_of(old)}
    with serve(Hub(repositories={"models/org/name": [old, new]})) as hub:
        answer = fetch(tmp_path, [part], weights=True, HF_ENDPOINT=hub.address)
    assert answer.returncode == 0, answer.stderr
    assert (tmp_path / "out/model.safetensors").read_bytes() == b"old"
    lock = read_json(tmp_path / "sources.lock/mine.json")
    assert lock[f"model:org/name@{part['revision']}"]["commit"] == part["revision"]


def test_a_split_says_at_which_commit_it_was_fetched(tmp_path):
    write_hub_files("mmmu", [mmmu(1)], tmp_path / "source")
    write_manifest(tmp_path / "source", {"name": "mmmu", "parts": [ORIGIN | {"sha256": "0" * 64}]})
    assert prepare(tmp_path / "source", tmp_path / "data", "mmmu", hub_layout="mmmu", listing={}) == 0
    assert list(read_split(tmp_path / "data", "mmmu", "test").source_commits) == [ORIGIN]


# ---- disputed items --------------------------------------------------------------------------------------------------


@pytest.fixture
def ten(tmp_path):
    """Ten answers, four of them right; a right and a wrong one are disputed: metrics file, answers and split."""
    item = {"question": "Which?", "options": ["a", "b"], "answers": ["A"], "type": "Art"}
    items = [{"id": f"q{number}", **item} for number in range(10)]
    answered = build_answered_items(items, [Reply("?", "A" if number < 4 else "B", 2, True) for number in range(10)])
    path = tmp_path / "results/one/retention/mmmu.json"
    write_hub_files("mmmu", [mmmu(1)], tmp_path / "source")
    write_manifest(tmp_path / "source", {"name": "mmmu", "parts": [ORIGIN]})
    prepare(tmp_path / "source", tmp_path / "data", "mmmu", hub_layout="mmmu", listing={})
    split = read_split(tmp_path / "data", "mmmu", "test")
    write_retention_results(
        path.parent, ASKED | {"disputed": ["q3", "q7"]}, answered, {"dataset": "of the dataset"}, split.source_commits
    )
    return path, answered, split


def test_disputed_items_are_scored_apart_with_the_score_for_either_answer(ten):
    path, _, _ = ten
    content = read_json(path)
    assert content["metrics"]["score"] == 40.0 and content["origin"] == [ORIGIN]
    assert (content["disputed"]["score_if_wrong"], content["disputed"]["score_if_correct"]) == (30.0, 50.0)
    assert content["disputed"]["items"] == [
        {"id": "q3", "reply": "A", "answers": ["A"], "is_correct": True},
        {"id": "q7", "reply": "B", "answers": ["A"], "is_correct": False},
    ]


def test_disputed_items_are_scored_again_from_stored_answers(ten, tmp_path, capsys):
    path, answered, _ = ten
    assert main(["score", str(tmp_path / "results")]) == 0
    answered[3]["answer"] = "B"
    answered[5]["answer"] = "A"
    write_jsonl(path.with_name("mmmu.answers.jsonl"), answered)
    assert main(["score", str(tmp_path / "results")]) == 1
    assert "disputed" in capsys.readouterr().out
    assert main(["score", str(tmp_path / "results"), "--write"]) == 0
    found = read_json(path)["disputed"]
    assert (found["score_if_wrong"], found["score_if_correct"], found["items"][0]["is_correct"]) == (40.0, 60.0, False)


def test_without_disputed_items_a_metrics_file_is_what_it_was(ten, tmp_path):
    _, answered, split = ten
    write_answers(tmp_path / "mine.json", "mmmu", "vlmevalkit-exact-2", answered)
    before = read_json(tmp_path / "mine.json")
    write_retention_results(tmp_path, ASKED, answered, {"dataset": "of the dataset"}, split.source_commits)
    assert read_json(tmp_path / "mmmu.json") == before | {"origin": [ORIGIN], "plan": None}


def test_a_disputed_item_that_the_set_does_not_have_stops_before_anything_is_asked(ten):
    _, _, split = ten
    require_disputed_items({"name": "mmmu", "disputed": ["validation_Art_1"]}, split.items)
    with pytest.raises(
        SlqError, match=r"datasets\.mmmu\.disputed lists 'validation_Art_4', but the dataset's test split has no"
    ):
        require_disputed_items({"name": "mmmu", "disputed": ["validation_Art_4"]}, split.items)


def test_the_runs_of_a_set_are_scored_anew_where_its_disputed_items_change(raw_config):
    config = validate_config(raw_config | {"preset": "paper"})
    before = job_settings.retention_settings(config, "InternVL3-1B")
    assert [one.get("disputed") for one in before["datasets"]] == [[one["id"] for one in BOUNDS["items"]], None, None]
    config["datasets"]["mmmu"]["disputed"] = []
    assert job_settings.retention_settings(config, "InternVL3-1B") != before
    config["datasets"]["coco"]["disputed"] = ["1"]
    with pytest.raises(SlqError, match=r"datasets\.coco\.disputed does not apply to a retrieval dataset; remove it"):
        validate_config(config)


def test_tables_name_the_commit_and_the_scores_for_either_answer(tmp_path):
    results = mini_results(tmp_path)
    for number, path in enumerate(sorted(results.glob("mini/mini-a/*/*/retention/mini-r.json"))):
        more = {
            "score_if_wrong": BOUNDS["score_if_wrong"] + number,
            "score_if_correct": BOUNDS["score_if_correct"] + number,
        }
        write_json(path, read_json(path) | {"origin": [ORIGIN], "disputed": BOUNDS | more})
    found = tables(MINI, results)
    for name in ("retention", "table3"):
        notes = " ".join(found[name].notes)
        assert re.search(r"Datasets as fetched: \S+, MMMU/MMMU at 0123456789ab\.", notes)
        assert "answers to validation_Art_Theory_4 and validation_Design_15 were corrected" in notes
        assert "Base (A-mini) 43.11 to 43.33; Full FT (A-mini) 44.11 to 44.33; SLQ (A-mini) 45.11 to 45.33." in notes


def test_tables_of_sets_that_are_drawn_have_no_such_note(tmp_path):
    found = tables(MINI, mini_results(tmp_path))
    notes = [note for table in found.values() for note in table.notes]
    assert not [note for note in notes if "fetched" in note or "were corrected" in note]
