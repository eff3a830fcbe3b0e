"""SLQ's inherited retention: the check passes for SLQ, and fails for any change of an answer or a weight."""

import shutil

import pytest
import torch

from sliced import BACKBONE, SETS
from slq.common.errors import SlqError
from slq.common.files import read_json, read_jsonl, write_json, write_jsonl
from slq.config import job_settings
from slq.evaluation import equivalence
from slq.evaluation.equivalence import check_equivalence
from slq.evaluation.generation import GenerationParams
from slq.evaluation.metrics_files import read_scored_answers
from slq.evaluation.rescoring import rescore_folder
from slq.evaluation.retention import evaluate_retention
from slq.models.backbone import hash_weights


@pytest.fixture(scope="module")
def asked(slice_, tmp_path_factory):
    """Results folder of a preset in which base has answered, with base's retained.json."""
    preset = tmp_path_factory.mktemp("proof") / "results" / "mini"
    how = job_settings.retention_settings(slice_.config, BACKBONE)
    base, folder = slice_.root / "base", preset / BACKBONE / "base/seed0"
    paths = (slice_.snapshot, base / "adapter", slice_.tests, preset / "work", folder / "retention")
    evaluate_retention(how, "code", *paths, folder / "events.jsonl", preset / "retained.json")
    return preset


@pytest.fixture
def preset(asked, tmp_path):
    return shutil.copytree(asked, tmp_path / "results" / "mini")


def run_prove(slice_, preset, method="slq", **changes):
    """Run the rule `check_equivalence` and return its record of every dataset, by name."""
    how = job_settings.equivalence_settings(slice_.config, BACKBONE) | changes
    run = slice_.root / method
    out = preset / BACKBONE / method / "seed1/retention"
    base = preset / BACKBONE / "base/seed0/retention"
    paths = (slice_.snapshot, run / "adapter", slice_.tests, base, preset / "retained.json", out)
    try:
        check_equivalence(how, *paths, out.parent / "events/equivalence.jsonl")
    except SlqError:
        assert not out.exists(), "nothing is written where anything differs"
        raise
    return {path.stem: read_json(path) for path in out.iterdir()}


def test_the_proof_passes_for_slq_and_refers_to_base(slice_, preset):
    proofs = run_prove(slice_, preset)
    assert proofs.keys() == set(SETS)
    backbone, _ = slice_.load("base")
    for name, found in proofs.items():
        assert found["inherits_from"] == f"{BACKBONE}/base/seed0/retention/{name}.json"
        base = read_scored_answers(preset / found["inherits_from"])
        count = min(32, len(base.items))
        assert found["equivalence_check"]["items"] == count
        assert found["equivalence_check"]["tokens"] == sum(line["tokens"] for line in base.items[:count])
        assert found["equivalence_check"]["weights"] == hash_weights(backbone.model) == slice_.weights("slq")["after"]
        assert found["equivalence_check"]["embedded"] > count, "texts and images"
        for key in ("backbone", "dataset", "settings", "questions"):
            assert found["inputs"][key] == base.metrics["inputs"][key]
    lines = read_jsonl(preset / BACKBONE / "slq/seed1/events/equivalence.jsonl")
    spans = [line for line in lines if line["event"] == "span"]
    assert {span["name"] for span in spans} == {"init", "eval"} and {span.get("dataset") for span in spans} >= set(SETS)


def test_stored_answers_are_read_through_the_proof(slice_, preset, capsys):
    run_prove(slice_, preset)
    inheriting, base = (
        read_scored_answers(preset / BACKBONE / run / "retention/mini-mmmu.json") for run in ("slq/seed1", "base/seed0")
    )
    assert inheriting == base and inheriting.judgements() == base.judgements()
    rescore_folder(preset, write=False)
    shown = [line for line in capsys.readouterr().out.splitlines() if "inherited from" in line]
    assert len(shown) == len(SETS) and all("slq/seed1" in line and "base/seed0" in line for line in shown)


def test_whole_batches_are_asked_in_the_order_of_the_set(slice_, preset):
    assert {
        found["equivalence_check"]["items"] for found in run_prove(slice_, preset, equivalence_items=1).values()
    } == {24, 16, 12}
    how = GenerationParams(8, 5)
    assert [len(batch) for batch in how.iter_batches(list(range(13)))] == [5, 5, 3]


def test_the_same_check_fails_for_lora(slice_, preset):
    message = r"^mini-mmmu: item 'validation_\w+': the reply with the adapter loaded is '.*', but the untouched"
    with pytest.raises(SlqError, match=message):
        run_prove(slice_, preset, "lora")


def test_the_same_check_fails_for_full_fine_tuning(slice_, preset, monkeypatch):
    with pytest.raises(SlqError, match=r"full_ft/adapter/adapter\.json: training changed the backbone's weights"):
        run_prove(slice_, preset, "full_ft")
    before = slice_.weights("base")["before"]
    monkeypatch.setattr(equivalence, "read_recorded_weights_hash", lambda saved: before)
    with pytest.raises(SlqError, match="the backbone with this adapter loaded has other weights than during training"):
        run_prove(slice_, preset, "full_ft")
    monkeypatch.setattr(equivalence, "require_weights_hash", lambda *_: None)
    with pytest.raises(SlqError, match=r"^mini-.*: the reply with the adapter loaded is"):
        run_prove(slice_, preset, "full_ft")


def nudge(backbone):
    """Move one weight of the backbone by the smallest representable step."""
    weight = backbone.inner.language_model.norm.weight
    with torch.no_grad():
        weight[0] = torch.nextafter(weight[0], torch.tensor(torch.inf))


@pytest.mark.parametrize("moment", ["load_retriever", "embed_sample"])
def test_one_nudged_weight_is_enough(slice_, preset, monkeypatch, moment):
    """The weight changes while the adapter is loaded, or later while it embeds."""
    place = equivalence
    original = getattr(place, moment)

    def nudged(*arguments):
        result = original(*arguments)
        nudge(arguments[0] if moment == "load_retriever" else arguments[1])
        return result

    monkeypatch.setattr(place, moment, nudged)
    with pytest.raises(SlqError, match="has other weights than during training"):
        run_prove(slice_, preset)


def test_what_embedding_leaves_in_the_model_would_be_seen(slice_, preset, monkeypatch):
    """A hook that embedding forgets to remove is state that no hash of weights covers."""
    original = equivalence.embed_sample

    def forgetful(retriever, backbone, sample):
        backbone.inner.language_model.norm.register_forward_hook(lambda module, inputs, output: -output)
        return original(retriever, backbone, sample)

    monkeypatch.setattr(equivalence, "embed_sample", forgetful)
    with pytest.raises(SlqError, match=r"^mini-mmmu: item .*: the reply with the adapter loaded is"):
        run_prove(slice_, preset)


def edit_answers(preset, change):
    """Change base's answers to a dataset, and their hash in its job's record."""
    path = preset / BACKBONE / "base/seed0/retention/mini-mmmu.answers.jsonl"
    lines = read_jsonl(path)
    change(lines)
    write_jsonl(path, lines)
    retained = read_json(preset / "retained.json")
    retained["answers"]["mini-mmmu"] = equivalence.hash_file(path)
    write_json(preset / "retained.json", retained)


def test_a_stored_reply_of_base_that_differs_is_named_with_both(slice_, preset):
    edit_answers(preset, lambda lines: lines[3].update(answer="something else"))
    message = (
        r"^mini-mmmu: item '\w+': the reply is '.*', but base's reply .*mini-mmmu\.answers\.jsonl is 'something else'"
    )
    with pytest.raises(SlqError, match=message):
        run_prove(slice_, preset)


FAULTS = {
    "another dataset": (
        lambda content: content["inputs"].update(dataset="x"),
        "generated with another dataset than this run's",
    ),
    "other settings": (lambda content: content["inputs"].update(settings="x"), "generated with another settings"),
    "an older version": (
        lambda content: content.update(schema=3),
        "schema 3, not 4: written by a version before 0.2.0",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_answers_of_base_that_do_not_belong_here_are_an_error(slice_, preset, fault):
    change, message = FAULTS[fault]
    path = preset / BACKBONE / "base/seed0/retention/mini-mmmu.json"
    content = read_json(path)
    change(content)
    write_json(path, content)
    with pytest.raises(SlqError, match=message):
        run_prove(slice_, preset)


def test_answers_that_changed_since_are_an_error(slice_, preset):
    run_prove(slice_, preset)
    path = preset / BACKBONE / "base/seed0/retention/mini-mmmu.answers.jsonl"
    lines = read_jsonl(path)
    lines[0]["answer"] += "!"
    write_jsonl(path, lines)
    with pytest.raises(
        SlqError, match=r"mini-mmmu\.answers\.jsonl: not the answers that the equivalence check compared"
    ):
        read_scored_answers(preset / BACKBONE / "slq/seed1/retention/mini-mmmu.json")
    shutil.rmtree(preset / BACKBONE / "slq")
    with pytest.raises(SlqError, match=r"mini-mmmu\.answers\.jsonl: changed since base's job wrote it"):
        run_prove(slice_, preset)


def test_answers_of_an_earlier_version_do_not_stay_beside_a_proof(slice_, preset):
    old = preset / BACKBONE / "slq/seed1/retention"
    old.mkdir(parents=True)
    for ending in ("answers", "disagreements"):
        (old / f"mini-mmmu.{ending}.jsonl").write_text("{}\n")
    run_prove(slice_, preset)
    assert sorted(path.name for path in old.iterdir()) == sorted(f"{name}.json" for name in SETS)
    (old / "mini-mmmu.answers.jsonl").write_text("{}\n")
    with pytest.raises(SlqError, match=r"contains answers, but mini-mmmu\.json refers to the answers of another run"):
        rescore_folder(preset, write=False)
