"""Required results after `make reproduce`, run by `make check`; every failure states the measured number."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "mini"
TABLES = ROOT / "paper_tables" / "mini"
BACKBONES = ("mini-internvl", "mini-qwen3vl")
KNOWN = 60  # percent of T2I R@5 on mini-karr, at least
SETS = ("mini-mmmu", "mini-realworldqa", "mini-ocrbench")  # retention datasets


def read(*parts):
    path = RESULTS.joinpath(*parts)
    assert path.is_file(), f"{path.relative_to(ROOT)} is missing: run `make reproduce` first"
    return json.loads(path.read_text())


@pytest.mark.parametrize("direction", ["t2i", "i2t"])
@pytest.mark.parametrize("method", ["full_ft", "lora", "slq"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_tuned_method_finds_most_unseen_scenes_and_not_all(backbone, method, direction):
    """A recall of 100 % would say nothing about the difference of two methods."""
    metrics = read(backbone, method, "seed1", "retrieval", "mini-coco.json")
    assert metrics["n"] == {"images": 200, "captions": 1000}
    assert 60 <= metrics["metrics"][direction]["R@5"] <= 97


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_untouched_backbone_does_not(backbone):
    assert read(backbone, "base", "seed0", "retrieval", "mini-coco.json")["metrics"]["t2i"]["R@5"] <= 40


@pytest.mark.parametrize("backbone", BACKBONES)
def test_slq_finds_scenes_by_what_its_backbone_knows(backbone):
    """The captions of mini-karr name no shape and no colour, unlike those in training; the images are mini-coco's."""
    asked, plain = (read(backbone, "slq", "seed1", "retrieval", f"{name}.json") for name in ("mini-karr", "mini-coco"))
    assert asked["n"] == {"images": 200, "captions": 400}
    assert asked["metrics"]["t2i"]["R@5"] >= KNOWN and asked["metrics"]["t2i"]["R@1"] < plain["metrics"]["t2i"]["R@1"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_full_fine_tuning_changes_the_backbone_and_its_answers(backbone):
    """The check for unchanged answers, which SLQ passes, fails for a method that tunes weights."""
    run = read(backbone, "full_ft", "seed1", "run.json")
    assert run["weights"]["before"] != run["weights"]["after"]
    scores = [
        read(backbone, *run, "retention", f"{name}.json")["metrics"]["accuracy"]
        for run in (("base", "seed0"), ("full_ft", "seed1"))
        for name in SETS
    ]
    assert sum(scores[len(SETS) :]) < sum(scores[: len(SETS)])


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("folder", ["base/seed0", "lora/seed1", "slq/seed1"])
def test_the_backbones_own_weights_are_untouched(backbone, folder):
    run = read(backbone, folder, "run.json")
    assert run["weights"]["before"] == run["weights"]["after"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_slq_trains_its_queries_alone(backbone):
    run = read(backbone, "slq", "seed1", "run.json")
    assert run["parameters"]["trainable"] == 8 * run["hidden_size"]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_answers_with_the_adapter_loaded_are_bases_answers(backbone):
    weights = read(backbone, "slq", "seed1", "run.json")["weights"]
    for name in SETS:
        inheriting = read(backbone, "slq", "seed1", "retention", f"{name}.json")
        assert inheriting["inherits_from"] == f"{backbone}/base/seed0/retention/{name}.json"
        assert inheriting["equivalence_check"]["weights"] == weights["before"] == weights["after"]
        assert inheriting["equivalence_check"]["items"] >= 32 and inheriting["equivalence_check"]["tokens"] >= 32
        assert not (RESULTS / backbone / "slq/seed1/retention" / f"{name}.answers.jsonl").exists()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_proved_score_is_bases_and_takes_part_in_the_marks(backbone):
    with open(TABLES / "cells.csv", newline="") as file:
        cells = {(cell["row"], cell["column"]): cell for cell in csv.DictReader(file) if cell["table"] == "table3"}
    for name in SETS:
        base, slq = (cells[f"{backbone}/{method}", name] for method in ("base", "slq"))
        assert (base["state"], slq["state"], slq["value"]) == ("measured", "inherited", base["value"])
        assert slq["source"].split("; ") == [base["source"], base["source"].replace("base/seed0", "slq/seed1")]


# Minimum accuracy of base in percent, by type of question. The aims, which were reached when measured, are 90 for
# questions about one image and 70 for those about two images and signs. The minimum is lower for types that are learned
# in a sudden step, because its time depends on the processor (docs/log.md).
ANSWERED = {
    "mini-mmmu": {"Attributes": 85, "Positions": 75, "Pairs": 70},
    "mini-realworldqa": {"open": 80, "multiple-choice": 80},
    "mini-ocrbench": {"Regular Text Recognition": 70, "Digit String Recognition": 70, "Scene Text-centric VQA": 70},
}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", SETS)
def test_base_answers_questions_about_its_world(backbone, name):
    types = read(backbone, "base", "seed0", "retention", f"{name}.json")["types"]
    assert types.keys() == ANSWERED[name].keys()
    assert all(types[type_]["score"] >= least for type_, least in ANSWERED[name].items()), types


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", SETS)
def test_without_the_images_base_can_only_guess(backbone, name):
    blind = read(backbone, "base", "seed0", "blind", f"{name}.json")
    assert blind["metrics"]["accuracy"] <= blind["chance"] + 15
    # A type has only 60 or 100 questions, so scores of two samples may differ by up to 10 points.
    assert all(of_type["score"] <= of_type["chance"] + 25 for of_type in blind["types"].values()), blind["types"]


def test_no_test_item_was_trained_on():
    splits = read("audit.json")["splits"]
    seen = {name: split["in_train"] for name, split in splits.items() if "in_train" in split}
    tests = ("mini-coco", "mini-flickr30k", "mini-karr", *SETS)
    assert set(seen) == {"mini-coco/val", *(f"{name}/test" for name in tests)}
    assert all(not any(counts.values()) for counts in seen.values()), seen


def test_every_number_in_the_tables_has_a_source():
    with open(TABLES / "cells.csv", newline="") as file:
        cells = list(csv.DictReader(file))
    assert {cell["state"] for cell in cells} == {"measured", "quoted", "inherited", "missing"}
    for cell in cells:
        assert bool(cell["value"]) == (cell["state"] != "missing"), cell
        if cell["state"] == "measured":
            for source in cell["source"].split("; "):  # a ratio has two sources
                assert (ROOT / source).is_file(), cell


def test_every_point_in_the_figures_has_a_source():
    figures = TABLES / "figures"
    shown = {"margins", "recall", "retention", "training", "scale", "queries"}
    for name in shown:
        assert all((figures / f"{name}.{kind}").stat().st_size > 5000 for kind in ("svg", "png")), name
    points = []
    for name in ("figures.csv", "queries.csv"):
        with open(figures / name, newline="") as file:
            points += csv.DictReader(file)
    assert {point["figure"] for point in points} == shown
    sources = {part.partition(":")[0] for point in points for part in point["source"].split("; ")}
    assert all((ROOT / source).is_file() for source in sources), sources
    runs = list(RESULTS.glob("*/*/seed*/run.json"))
    assert sum(point["figure"] == "recall" for point in points) == 2 * len(runs)


def test_the_pdf_shows_the_tables():
    text = subprocess.run(
        ["pdftotext", "-layout", str(TABLES / "tables.pdf"), "-"], capture_output=True, text=True, check=True
    ).stdout
    for words in (
        "SLQ (InternVL-mini)",
        "SLQ (Qwen3VL-mini)",
        "mini-COCO",
        "CPU Hour",
        "Base, blind",
        "SLQ against LoRA",
    ):
        assert words in text
