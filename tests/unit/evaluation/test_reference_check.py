"""The reference check: a CLIP of the real class compared with its own features and a naive loop."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
import yaml
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from asjob import run_job
from checkout import ROOT, place, snakemake
from loopback import Hub, commit_of, serve
from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.datasets.splits import read_split
from slq.evaluation.reference_check import check_reference_recalls
from slq.evaluation.reference_recalls import REFERENCE_COLUMNS, read_reference_recalls
from slq.models.dual_encoder import DualEncoder
from slq.sources.fetch import fetch_source
from slq.synthetic.datasets import draw_split
from tinyclip import make_clip

LONG = "abc " * 40  # three tokens per word


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Test split of a synthetic dataset, the one that the slice draws: scenes 112 to 127."""
    folder = tmp_path_factory.mktemp("data")
    settings = {"dataset": "mini-coco", "split": "test", "hub_layout": None, "style": "filled", "words": "plain"}
    draw_split({**settings, "first": 112, "count": 16, "families": True, "seed": 7}, folder / "mini-coco" / "test")
    return folder


@pytest.fixture(scope="session")
def encoders(tmp_path_factory, snapshot):
    folder = tmp_path_factory.mktemp("encoders")
    settings = {"name": "tiny", "weights": True, "parts": [{"local_dir": str(snapshot)}]}
    fetch_source(settings, folder / "tiny", folder / "sources.lock")
    return folder


def features(snapshot, split):
    """Oracle: unit vectors of transformers' own model, one image and one caption at a time."""
    model = CLIPModel.from_pretrained(snapshot).eval()
    tokenizer = CLIPTokenizer.from_pretrained(snapshot)
    processor = CLIPImageProcessorPil.from_pretrained(snapshot)
    images, texts = [], []
    with torch.no_grad():
        for item in split.items:
            pixels = processor(split.open(item["image"]), return_tensors="pt")["pixel_values"]
            images.append(model.get_image_features(pixels).pooler_output[0].numpy())
            for caption in item["captions"]:
                ids = tokenizer(caption)["input_ids"]
                ids = ids if len(ids) <= 77 else [*ids[:76], ids[-1]]
                texts.append(model.get_text_features(torch.tensor([ids])).pooler_output[0].numpy())
    return [np.array([vector / np.linalg.norm(vector) for vector in part]) for part in (images, texts)]


def naive_recall(queries, gallery, own, k):
    """Oracle: percentage of queries with one of their own items among the first K."""
    hits = 0
    for number, query in enumerate(queries):
        ordered = sorted(range(len(gallery)), key=lambda item: -float(query @ gallery[item]))
        hits += any(own(number, item) for item in ordered[:k])
    return 100 * hits / len(queries)


@pytest.fixture(scope="session")
def published(snapshot, data):
    """R@5 of both directions on the synthetic dataset, in which five consecutive captions belong to one image."""
    images, texts = features(snapshot, read_split(data, "mini-coco", "test"))
    return {
        "t2i": naive_recall(texts, images, lambda text, image: text // 5 == image, 5),
        "i2t": naive_recall(images, texts, lambda image, text: text // 5 == image, 5),
    }


def golden_file(path, values, model="tiny", name="coco"):
    lines = [",".join(REFERENCE_COLUMNS)]
    lines += [f"{model},{name},{direction},R@5,{value},0.01,a test" for direction, value in values.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def settings(*datasets):
    names = datasets or ("mini-coco",)
    return {
        "encoders": ["tiny"],
        "datasets": [{"name": name, "paper_column": name.removeprefix("mini-")} for name in names],
        "batch_size": 7,
    }


def check(encoders, data, golden, *datasets):
    out = golden.with_name("reference_check.json")
    check_reference_recalls(settings(*datasets), encoders, data, golden, out)
    return read_json(out)


def test_recalls_are_those_of_the_models_own_features_and_a_naive_loop(encoders, data, published, tmp_path):
    found = check(encoders, data, golden_file(tmp_path / "golden.csv", published))
    assert [(one["direction"], one["measured"]) for one in found["checks"]] == list(published.items())
    assert len({*published.values()} - {0.0, 100.0}) == 2, "values that say something"
    assert found["checks"][0]["n"] == {"images": 16, "captions": 80}
    assert found["unchecked"] == []


def test_a_row_of_more_fields_than_there_are_columns_is_named(published, tmp_path):
    golden = golden_file(tmp_path / "golden.csv", published)
    golden.write_text(golden.read_text().rstrip() + ", and by whom\n")
    with pytest.raises(SlqError, match=r"golden\.csv:\d+: expected 7 fields; quote a field that contains a comma"):
        read_reference_recalls(golden, "tiny")


def test_vectors_are_those_of_one_image_and_one_text_at_a_time(snapshot, encoders, data):
    split = read_split(data, "mini-coco", "test")
    images, texts = features(snapshot, split)
    encoder = DualEncoder.load(encoders / "tiny")
    ours = encoder.encode_images([split.open(item["image"]) for item in split.items]).numpy()
    assert ours.dtype == np.float32 and np.abs(ours - images).max() < 1e-5
    ours = encoder.encode_texts([caption for item in split.items for caption in item["captions"]]).numpy()
    assert np.abs(ours - texts).max() < 1e-5


def test_a_text_of_more_than_77_tokens_is_cut_and_closed(snapshot, encoders):
    tokenizer = CLIPTokenizer.from_pretrained(snapshot)
    ids = tokenizer(LONG)["input_ids"]
    assert len(ids) > 77 > len(tokenizer("a red circle")["input_ids"])
    kept = tokenizer.decode(ids[1:76])
    assert tokenizer(kept)["input_ids"] == [*ids[:76], ids[-1]]
    long, cut, other = DualEncoder.load(encoders / "tiny").encode_texts([LONG, kept, "a red circle"])
    assert (long - cut).abs().max() < 1e-3 < 1e-2 < (long - other).abs().max()


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
def test_a_wrong_value_names_set_direction_both_numbers_and_where_to_look(
    encoders, data, published, tmp_path, direction
):
    wrong = published | {direction: published[direction] + 0.02}
    with pytest.raises(SlqError) as error:
        check(encoders, data, golden_file(tmp_path / "golden.csv", wrong))
    message = str(error.value)
    assert message.count("expected") == 1
    assert (
        f"tiny on mini-coco (16 images, 80 captions), {direction} R@5: expected {wrong[direction]:g} ± 0.01" in message
    )
    assert f"found {published[direction]:.2f}. The data or the evaluation is wrong: check" in message
    assert not (tmp_path / "reference_check.json").exists()


def test_a_caption_under_the_wrong_image_is_seen(encoders, data, published, tmp_path):
    """The check exists to find this fault: each image has the captions of the next one."""
    folder = tmp_path / "data" / "mini-coco" / "test"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(data / "mini-coco" / "test")
    split = read_split(tmp_path / "data", "mini-coco", "test")
    nexts = split.items[1:] + split.items[:1]
    moved = [{**one, "captions": other["captions"]} for one, other in zip(split.items, nexts, strict=True)]
    folder.unlink()
    folder.mkdir()
    for path in (data / "mini-coco" / "test").iterdir():
        if path.name != "items.jsonl":
            (folder / path.name).symlink_to(path)
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in moved))
    with pytest.raises(SlqError, match="reference check: tiny on mini-coco"):
        check(encoders, tmp_path / "data", golden_file(tmp_path / "golden.csv", published))


def test_a_set_without_a_published_value_is_named_and_nothing_at_all_is_an_error(encoders, data, published, tmp_path):
    golden = golden_file(tmp_path / "golden.csv", published)
    found = check(encoders, data, golden, "mini-coco", "mini-flickr30k")
    assert found["unchecked"] == ["tiny on mini-flickr30k: no published value on flickr30k"]
    with pytest.raises(SlqError, match=r"golden\.csv: no value for any of the preset's datasets"):
        check(encoders, data, golden, "mini-flickr30k")
    with pytest.raises(SlqError, match=r"golden\.csv: has no value of tiny.*models with values: CLIP-ViT-B-32"):
        check(encoders, data, golden_file(golden, published, model="CLIP-ViT-B-32"))
    with pytest.raises(SlqError, match=r"golden\.csv:2: value and tolerance must be numbers"):
        check(encoders, data, golden_file(golden, {"t2i": "high"}))
    with pytest.raises(SlqError, match=r"golden\.csv:2: strict R@5; expected t2i or i2t"):
        check(encoders, data, golden_file(golden, {"strict": 5.0}))


# ---- in the workflow -------------------------------------------------------------------------------------------------


@pytest.fixture
def with_reference_encoder(checkout):
    """Checkout whose mini preset has the hub's model as reference encoder."""
    part = {"model": "org/name", "revision": "main", "gb": 0}
    sources = {"small": {"parts": [part], "licence": "none", "account": "none"}}
    preset = {"reference_encoders": ["tiny"], "retrieval_datasets": ["mini-coco"], "retention_datasets": []}
    override = {"sources": sources, "encoders": {"tiny": {"source": "small"}}, "presets": {"mini": preset}}
    (checkout / "mine.yaml").write_text(yaml.safe_dump(override))
    return checkout


def test_the_workflow_fetches_the_model_and_checks_it(with_reference_encoder, snapshot, published, tmp_path):
    """The real client fetches from a hub on loopback; a wrong value ends the call with one message."""
    files = {path.name: path.read_bytes() for path in snapshot.iterdir()}
    golden, file = (
        with_reference_encoder / "paper_tables/reference/reference_recalls.csv",
        with_reference_encoder / "results/mini/reference_check.json",
    )
    options = ["--cores", "1", "--configfile", "tests/slice.yaml", "mine.yaml", "--", "reference_check"]
    golden_file(golden, published | {"t2i": published["t2i"] + 1})
    with serve(Hub(repositories={"models/org/name": [files]})) as site:
        hub = {"HF_ENDPOINT": site.address, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        answer = snakemake(with_reference_encoder, *options, **hub)
    assert answer.returncode == 1 and not file.exists(), answer.stdout
    assert answer.stdout.count("slq: error: reference check: tiny on mini-coco (16 images, 80 captions)") == 1
    manifest = read_json(with_reference_encoder / "scratch/encoders/tiny/manifest.json")
    (part,) = manifest["source"]["parts"]
    assert part["from"] == "model:org/name@main" and part["commit"] == commit_of(files)
    assert read_json(with_reference_encoder / "sources.lock/small.json")["model:org/name@main"]["commit"] == commit_of(
        files
    )
    golden_file(golden, published)
    answer = snakemake(with_reference_encoder, *options)
    assert answer.returncode == 0, answer.stdout
    assert {one["direction"]: one["measured"] for one in read_json(file)["checks"]} == published


# ---- before any long job: Snakemake's own scheduler, with a stand-in for all jobs ------------------------------------

STAND_IN = ROOT / "tests" / "reference_check" / "stand_in.py"
LEARNING = ["mini-coco/train", "mini-coco/val"]
LEARN = {"train", "cache_features"}  # the long jobs
METHODS = ("full_ft", "lora", "slq")
CHECKS = {"check_reference_recalls": "reference_check", "audit": "audit"}  # the file of each job
TARGETS = [f"results/mini/{name}.json" for name in CHECKS.values()]
TARGETS += [f"results/mini/mini-internvl/{method}/seed1/run.json" for method in METHODS]


def put_stand_in(folder):
    """Replace every job of a checkout by the stand-in; the rules and their requests stay."""
    shutil.copy(STAND_IN, folder / "workflow/slq/stand_in.py")
    path = folder / "workflow/slq/jobs.py"
    head, begin, rest = path.read_text().partition("\n\n\ndef train(")
    path.write_text(f'{head}\nJOBS = dict.fromkeys(JOBS, "slq.stand_in:run_stand_in"){begin}{rest}')


def calls(folder, *arguments, ready=True, **environment):
    """Call the workflow; return the answer, and what the stand-in did, in order: (begin or end, job)."""
    put_stand_in(folder)
    if ready:  # trainings could start at once, while the check waits for a model and a dataset
        place(folder, *(f"scratch/data/{name}/manifest.json" for name in LEARNING))
        place(folder, "scratch/backbones/mini-internvl/manifest.json")
    answer = snakemake(folder, "--configfile", "mine.yaml", *arguments, "--", *TARGETS, **environment)
    done = folder / "calls.txt"
    return answer, [tuple(line.split()) for line in done.read_text().splitlines()] if done.exists() else []


@pytest.mark.parametrize(
    ("cores", "ready", "scheduler"),
    [("1", True, "ilp"), ("4", True, "ilp"), ("4", False, "greedy")],
    ids=["one core", "four cores", "nothing there yet"],
)
def test_no_training_begins_before_the_checks_have_passed(with_reference_encoder, cores, ready, scheduler):
    answer, done = calls(with_reference_encoder, "--cores", cores, "--scheduler", scheduler, ready=ready)
    assert answer.returncode == 0, answer.stdout
    passed = max(done.index(("end", check)) for check in CHECKS)
    assert done[passed:].count(("begin", "train")) == len(METHODS)
    assert {job for _, job in done[:passed]} == {"make_synthetic_split", "fetch_source", *CHECKS}
    together = "".join(what[0] for what, job in done if job == "train")
    assert ("bb" in together) == (cores == "4"), "afterwards they do not wait for each other"


@pytest.mark.parametrize("check", CHECKS)
def test_a_failed_check_leaves_no_training_begun(with_reference_encoder, check):
    answer, done = calls(with_reference_encoder, "--cores", "4", STAND_IN_FAILS=check)
    assert answer.returncode == 1 and f"slq: error: {check}: it is wrong" in answer.stdout
    assert done[-1] == ("end", check) and not [call for call in done if call[1] == "train"]


@pytest.mark.parametrize("check", CHECKS)
def test_nor_where_one_failure_does_not_end_the_call(with_reference_encoder, check):
    """With --keep-going, as in the cluster's profile, Snakemake starts the jobs, and each refuses with one message.

    For SLQ, the job that refuses is the one that caches prefixes.
    """
    answer, done = calls(with_reference_encoder, "--cores", "4", "--keep-going", STAND_IN_FAILS=check)
    assert answer.returncode == 1
    assert not [call for call in done if call[1] == "train"]
    message = f"slq: error: results/mini/{CHECKS[check]}.json: not found: this check has not passed"
    assert answer.stdout.count(message) == len(METHODS)


def test_a_job_that_requires_checks_begins_after_the_last_of_them(monkeypatch, tmp_path, capsys):
    files = [tmp_path / f"{check}.json" for check in CHECKS]
    begun = []
    monkeypatch.setattr("slq.training.run_record.register_base", lambda settings: begun.append(settings))
    for checked in files:
        assert run_job("register_base", settings={"method": "base"}, required=files) == 1 and not begun
        assert re.search(f"{checked.name}: not found: .*; run `snakemake {checked}`", capsys.readouterr().err)
        checked.touch()
    assert run_job("register_base", settings={"method": "base"}, required=files) == 0 and len(begun) == 1


def test_all_jobs_that_learn_require_every_check_and_no_other_does(with_reference_encoder):
    options = ["-n", "--cores", "1", "--configfile", "mine.yaml", "--", "lr_sweep", *TARGETS]
    answer = snakemake(with_reference_encoder, *options)
    assert answer.returncode == 0, answer.stdout
    planned = [read_json(path) for path in (with_reference_encoder / "scratch/params").iterdir()]
    required = {job["job"]: job.get("required", []) for job in planned}
    checks = [f"results/mini/{name}.json" for name in CHECKS.values()]
    assert {job for job, files in required.items() if files == checks} == LEARN
    assert {job for job, files in required.items() if files} == LEARN < required.keys()
