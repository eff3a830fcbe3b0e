"""Shipped weights: used where all that they were made from is unchanged, and equal to what training makes."""

import csv
import shutil

import pytest

from checkout import ROOT, copy_repository, snakemake
from ship_weights import SHIPPED, largest_difference, processor, read_config, shipped_models
from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json, write_json
from slq.common.snapshots import snapshot_sha256
from slq.config import job_settings
from slq.jobs import pretrain_encoder
from slq.synthetic import encoders, shipped
from slq.synthetic.datasets import draw_split
from slq.synthetic.shipped import INDEX, WEIGHTS, snapshot_key

NAME = "mini-clip"
RETENTION = ("mini-mmmu", "mini-realworldqa", "mini-ocrbench")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A few drawn scenes to train on."""
    folder = tmp_path_factory.mktemp("data")
    drawn = {
        "dataset": "mini-coco",
        "hub_layout": None,
        "style": "filled",
        "words": "plain",
        "families": False,
        "seed": 7,
    }
    draw_split(drawn | {"split": "train", "first": 0, "count": 32}, folder / "mini-coco" / "train")
    return folder


@pytest.fixture
def settings(raw_config):
    return job_settings.pretrain_encoder_settings(raw_config, NAME) | {"steps": 3, "batch_size": 16}


@pytest.fixture
def trained(settings, data, tmp_path):
    """A snapshot trained from scratch."""
    pretrain_encoder(settings, data, None, tmp_path / "trained")
    return tmp_path / "trained"


@pytest.fixture
def folder(trained, settings, data, tmp_path):
    """A folder of shipped weights, as `make pretrain` fills it."""
    folder = tmp_path / "pretrained"
    shutil.copytree(trained, folder / NAME, ignore=shutil.ignore_patterns("manifest.json"))
    write_json(folder / INDEX, {NAME: {"key": snapshot_key(settings, data), "sha256": hash_file(trained / WEIGHTS)}})
    return folder


def test_equal_weights_are_used_and_give_the_bytes_of_training(
    settings, data, folder, trained, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(encoders, "train_network", None)  # a call of it would fail
    pretrain_encoder(settings, data, folder, tmp_path / "taken")
    assert "mini-clip comes with the repository" in capsys.readouterr().err
    files = sorted(path.name for path in trained.iterdir())
    assert files == sorted(path.name for path in (tmp_path / "taken").iterdir())
    assert all((trained / name).read_bytes() == (tmp_path / "taken" / name).read_bytes() for name in files)


@pytest.mark.parametrize("changed", ["seed", "steps", "learning_rate", "model", "data", "recipe", "another"])
def test_other_settings_data_or_recipe_train_from_scratch(
    changed, settings, data, folder, trained, tmp_path, monkeypatch, capsys
):
    other = {
        "seed": {"seed": 8},
        "steps": {"steps": 2},
        "learning_rate": {"learning_rate": 0.1},
        "model": {"model": settings["model"] | {"projection_dim": 32}},
    }.get(changed, {})
    if changed == "data":
        path = data / settings["dataset"] / "train" / "manifest.json"
        monkeypatch.setattr(shipped, "hash_file", lambda file: "other" if file == path else hash_file(file))
    if changed == "recipe":
        monkeypatch.setattr(shipped, "RECIPE", 0)
    if changed == "another":
        write_json(folder / INDEX, {})
    pretrain_encoder(settings | other, data, folder, tmp_path / "out")
    assert "mini-clip is pre-trained from scratch" in capsys.readouterr().err
    if other:
        assert snapshot_sha256(tmp_path / "out") != snapshot_sha256(trained)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), lambda path: path.unlink()])
def test_damaged_weights_are_told_and_nothing_is_left_that_looks_finished(damage, settings, data, folder, tmp_path):
    damage(folder / NAME / WEIGHTS)
    with pytest.raises(SlqError, match=r"mini-clip/model.safetensors: does not match its hash in index.json"):
        pretrain_encoder(settings, data, folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_every_pretrained_model_of_the_configuration_is_shipped():
    index = read_json(SHIPPED / INDEX)
    assert index.keys() == {name for _, name, _, _ in shipped_models(read_config())}
    assert {name: hash_file(SHIPPED / name / WEIGHTS) for name in index} == {
        name: entry["sha256"] for name, entry in index.items()
    }


@pytest.mark.slow
def test_shipped_weights_are_those_of_the_settings_and_the_data_that_are_drawn(tmp_path):
    config, index = read_config(), read_json(SHIPPED / INDEX)
    found = {}
    for _, name, settings, _ in shipped_models(config):
        split = tmp_path / settings["dataset"] / "train"
        if not split.exists():
            draw_split(job_settings.synthetic_split_settings(config, settings["dataset"], "train"), split)
        found[name] = snapshot_key(settings, tmp_path)
    assert found == {name: entry["key"] for name, entry in index.items()}


@pytest.mark.slow
def test_code_that_changed_since_makes_the_same_weights_or_another_recipe_that_is_as_good(tmp_path):
    """Nothing is trained here unless the code changed, because another processor rounds sums differently."""
    index, config = read_json(SHIPPED / INDEX), read_config()
    changed = {name: catalogue for catalogue, name, _, code in shipped_models(config) if code != index[name]["code"]}
    if not changed:
        return
    folder = copy_repository(tmp_path / "copy")
    backbones = [name for name, catalogue in changed.items() if catalogue == "backbones"]
    answered = [f"results/mini/{name}/base/seed0/retention/{data}.json" for name in backbones for data in RETENTION]
    models = [f"scratch/{catalogue}/{name}/manifest.json" for name, catalogue in changed.items()]
    answer = snakemake(folder, "--cores", "2", *models, *answered, "--config", "pretrained=none", timeout=3000)
    assert answer.returncode == 0, answer.stdout
    for name, catalogue in changed.items():
        made = folder / "scratch" / catalogue / name / WEIGHTS
        if hash_file(made) == index[name]["sha256"]:
            continue
        moved = largest_difference(made, SHIPPED / name / WEIGHTS)
        assert index[name]["processor"] != processor(), (
            f"{name}: weights differ by {moved:.1e} from the shipped ones. Meant? Raise RECIPE, call make pretrain "
            "ARGS=--write. Else find what changed them"
        )
    floors = {
        (row["row"], row["column"]): float(row["value"]) - float(row["tolerance"])
        for row in csv.DictReader((ROOT / "tests" / "baseline" / "mini.csv").read_text().splitlines())
        if row["table"] == "table3" and row["row"].endswith("/base")
    }
    for name in backbones:
        for data in RETENTION:
            score = read_json(folder / f"results/mini/{name}/base/seed0/retention/{data}.json")["metrics"]["score"]
            assert score >= floors[f"{name}/base", data]
