"""`slq evaluate`: a run on a user's images and captions, measured as the workflow does it."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest

from asjob import run_job
from exported import Lab
from sliced import slice_config
from slq.cli import main
from slq.common.files import read_json
from slq.config.job_settings import synthetic_split_settings
from slq.datasets.splits import read_split
from slq.models.backbone import Backbone
from slq.synthetic.datasets import draw_split

ALL = {"name": "mini-coco", "table_variant": "all", "variants": [{"name": "all"}]}
RUNS = [("mini-internvl", "slq"), ("mini-qwen3vl", "lora")]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Runs, with the test split of the slice's mini-coco beside them in `data`."""
    lab = Lab(tmp_path_factory.mktemp("lab"))
    settings = synthetic_split_settings(slice_config(), "mini-coco", "test")
    draw_split(settings, lab.root / "data" / "mini-coco" / "test")
    return lab


@pytest.fixture(scope="module")
def split(lab):
    return read_split(lab.root / "data", "mini-coco", "test")


def lines_of(split):
    return [{"image": item["image"], "captions": item["captions"]} for item in split.items]


@pytest.fixture
def evaluate(lab, split, tmp_path):
    """Function that calls the command on the split's images and the given lines; returns the exit status."""

    def call(lines, *options, run=RUNS[0], images=split.root):
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
        (tmp_path / "mine.jsonl").write_text(text)
        where = ["--images", str(images), "--captions", str(tmp_path / "mine.jsonl")]
        return main(["evaluate", str(lab.run(*run)), *where, *map(str, options), *lab.config])

    return call


def state(folder):
    """Content and modification time of every file below a folder."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("run", RUNS, ids=" ".join)
def test_its_recalls_are_those_of_the_workflow_and_nothing_else_is_written(lab, split, evaluate, tmp_path, capsys, run):
    """Intervals agree too; the images are copied without the split's files, so that only the inputs are read."""
    folder = lab.run(*run)
    settings = read_json(folder / "run.json")["settings"]
    paths = {
        "backbone_folder": lab.snapshot(run[0]),
        "adapter_folder": lab.root / "scratch/runs" / folder.relative_to(lab.root / "results"),
    }
    given = {key: settings[key] for key in ("family", "dtype", "prompt")} | {"batch_size": 5, "datasets": [ALL]}
    out = {"data": lab.root / "data", "out": tmp_path / "theirs", "events_file": tmp_path / "events.jsonl"}
    assert run_job("evaluate_retrieval", settings=given, **paths, **out) == 0
    theirs = read_json(tmp_path / "theirs/mini-coco.json")

    images = shutil.copytree(split.root, tmp_path / "mine", ignore=shutil.ignore_patterns("*.json*"))
    _ = lab.config  # written at its first use
    before = state(lab.root)
    capsys.readouterr()
    assert evaluate(lines_of(split), "--batch", 5, "--json", tmp_path / "mine.json", run=run, images=images) == 0
    assert state(lab.root) == before
    ours = read_json(tmp_path / "mine.json")
    for key in ("metrics", "pessimistic", "ties", "n"):
        assert ours[key] == theirs[key], key
    assert len({*ours["metrics"]["t2i"].values()} - {0.0, 100.0}) > 1, "values that say something"

    head, *printed = capsys.readouterr().out.splitlines()
    assert head == "16 images, 80 captions; in brackets the 95 % interval"
    for line, direction in zip(printed, ("t2i", "i2t"), strict=True):
        assert line.startswith(f"{direction}  ")
        for name, recall in theirs["metrics"][direction].items():
            low, high = ours["ci95"][direction][name]
            assert f"  {name} {recall:.1f} ({low:.1f}, {high:.1f})" in line and low <= recall <= high


def test_without_a_file_to_write_it_only_prints(split, evaluate, tmp_path, capsys):
    assert evaluate(lines_of(split)[:3]) == 0
    assert capsys.readouterr().out.startswith("3 images, 15 captions;")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jsonl"]


@pytest.mark.parametrize("run", RUNS, ids=" ".join)
def test_captions_that_spell_control_tokens_are_texts(split, evaluate, tmp_path, run):
    """Such names count as any other words unknown to the backbone."""
    results = []
    for number, word in enumerate(("<|image_pad|> <IMG_CONTEXT> <|im_end|>", "zebra lion mouse")):
        lines = [line | {"captions": [f"{text} {word}" for text in line["captions"]]} for line in lines_of(split)[:4]]
        assert evaluate(lines, "--json", tmp_path / f"{number}.json", run=run) == 0
        results.append(read_json(tmp_path / f"{number}.json"))
    assert results[0] == results[1]


def test_a_caption_with_a_word_that_has_no_embedding_names_its_item(split, evaluate, capsys, monkeypatch):
    """The tokenizer has a token for which the weights have no embedding."""

    def load(*arguments):
        backbone = Backbone.load(*arguments)
        backbone.tokenizer.add_tokens(["zebra"])
        return backbone

    monkeypatch.setattr("slq.evaluation.retrieval.Backbone", SimpleNamespace(load=load))
    first, second, *_ = lines_of(split)
    assert evaluate([first, second | {"captions": ["a ring", "a zebra"]}]) == 1
    words = rf"slq: error: mine: item '{second['image']}': the token 'zebra' has id (\d+) in .* has only \1 rows"
    assert re.match(words, message := capsys.readouterr().err) and message.count("\n") == 1


FORM = '{"image": "a.jpg", "captions": ["a text", ...]}'
FAULTS = {
    "a missing image": ([{"image": "no.png", "captions": ["a cat"]}], "mine.jsonl:2: there is no image no.png"),
    "no JSON": (["a cat\n"], "mine.jsonl:2: not valid JSON"),
    "no captions": ([{"image": "IMAGE"}], f"mine.jsonl:2: expected {FORM}"),
    "one text": ([{"image": "IMAGE", "captions": "a cat"}], f"mine.jsonl:2: expected {FORM}"),
    "captions none": ([{"image": "OTHER", "captions": []}], "has an empty caption; every caption needs"),
    "a caption without words": ([{"image": "OTHER", "captions": [" "]}], "an empty caption; every caption needs"),
    "no text": ([{"image": "OTHER", "captions": [7]}], "has an empty caption; every caption needs"),
    "an image twice": ([{"image": "IMAGE", "captions": ["a cat"]}], "occurs more than once"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_line_at_fault_is_one_message(split, evaluate, tmp_path, capsys, fault):
    """The message comes before a model is loaded."""
    first, other = (item["image"] for item in split.items[:2])
    lines, message = FAULTS[fault]
    lines = [json.loads(json.dumps(line).replace("IMAGE", first).replace("OTHER", other)) for line in lines]
    assert evaluate([lines_of(split)[0], *lines], "--json", tmp_path / "out.json") == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"slq: error: {tmp_path}/mine.jsonl") and message in said.err
    assert said.err.count("\n") == 1 and not said.out and not (tmp_path / "out.json").exists()


def test_a_file_of_captions_that_is_empty_or_absent_says_what_is_expected(lab, split, evaluate, tmp_path, capsys):
    assert evaluate([]) == 1
    assert capsys.readouterr().err == (
        f"slq: error: {tmp_path}/mine.jsonl: is empty; expected one line per image, {FORM}\n"
    )
    where = ["--images", str(split.root), "--captions", str(tmp_path / "none.jsonl")]
    assert main(["evaluate", str(lab.run(*RUNS[0])), *where, *lab.config]) == 1
    message = f"slq: error: {tmp_path}/none.jsonl: not found; expected a file with lines {FORM}\n"
    assert capsys.readouterr().err == message


def test_an_image_that_cannot_be_read_is_named(evaluate, tmp_path, capsys):
    (tmp_path / "cat.png").write_text("a cat")
    assert evaluate([{"image": "cat.png", "captions": ["a cat"]}], images=tmp_path) == 1
    message = capsys.readouterr().err
    assert message.startswith("slq: error: ") and f"{tmp_path}/cat.png" in message and message.count("\n") == 1


def test_a_batch_of_none_and_a_folder_that_is_no_run_are_refused(lab, split, evaluate, tmp_path, capsys):
    assert evaluate(lines_of(split)[:2], "--batch", 0) == 1
    assert capsys.readouterr().err == "slq: error: --batch 0: expected 1 or more\n"
    where = ["--images", str(split.root), "--captions", str(tmp_path / "mine.jsonl")]
    assert main(["evaluate", str(tmp_path), *where, *lab.config]) == 1
    assert "not a run's folder: expected run.json in it" in capsys.readouterr().err
