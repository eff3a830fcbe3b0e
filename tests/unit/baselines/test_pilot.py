"""The pilot: cosines of named texts and images under several read-outs, and their figure."""

import csv
import json

import pytest
import yaml
from PIL import Image

from asjob import run_job
from checkout import ROOT, planned, snakemake
from oracles import untrained, whole_sequence
from slq.baselines.mllm_encoder import MllmEncoder
from slq.baselines.pilot import measure_pilot
from slq.common.errors import SlqError
from slq.common.files import hash_file, write_json
from slq.common.snapshots import write_manifest
from slq.config import baseline_settings
from slq.config.loading import validate_config
from slq.datasets.pilot_images import find_pilot_images, open_pilot_image
from slq.datasets.splits import write_split
from slq.models.backbone import Backbone
from slq.models.prefix import tokenize_message
from slq.models.retriever import LastTokenRetriever
from slq.reporting.pilot import draw_pilot, read_pilot_records, render_pilot
from slq.reporting.style import figure_style

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
TEXTS = ["a red circle", "a blue square above a green ring"]
SIZES = {"red.png": ((64, 64), "red"), "wide.png": ((90, 40), "blue"), "tall.png": ((30, 70), "green")}
BARE = {"text": "{text}", "image": "{image}"}
ASKED = {"text": "what is {text} ?", "image": "{image} what is in the picture ?"}
READOUTS = [
    {"name": "last_token", "label": "last token", "queries": 0, "instructions": {"t2i": BARE, "i2t": ASKED}},
    {"name": "two", "label": "two zero queries", "queries": 2, "instructions": {"t2i": ASKED, "i2t": BARE}},
]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """Folder of an untrained backbone, laid out as a hub snapshot."""
    folder = tmp_path_factory.mktemp("backbone")
    backbone = untrained("mini-internvl", CONFIG["backbones"]["mini-internvl"], folder)
    backbone.model.save_pretrained(folder)
    backbone.tokenizer.save_pretrained(folder)
    write_manifest(folder, {})
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folder of a user's pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, (size, colour) in SIZES.items():
        Image.new("RGB", size, colour).save(folder / name)
    return folder


def settings(folder, **changed):
    """Settings of the pilot for three pictures of a folder."""
    how = {"backbone": "mini-internvl", "family": "internvl", "dtype": "float32", "texts": TEXTS, "readouts": READOUTS}
    return how | {"folder": str(folder), "images": list(SIZES)} | changed


# ---- measurement -----------------------------------------------------------------------------------------------------


def test_a_cosine_is_that_of_a_text_and_an_image_alone(snapshot, pictures, tmp_path):
    out = tmp_path / "results/mini/mini-internvl/pilot.json"
    measure_pilot(settings(pictures), snapshot, tmp_path, out)
    found = json.loads(out.read_text())
    assert (found["schema"], found["backbone"]) == (1, "mini-internvl")
    assert (found["texts"], found["images"]) == (TEXTS, list(SIZES))
    assert {f"image {name}": hash_file(pictures / name) for name in SIZES}.items() <= found["inputs"].items()
    shown = {"preset": "mini", "backbones": [{"name": "mini-internvl", "label": "InternVL-mini"}]}
    (record,) = read_pilot_records(shown, tmp_path / "results")
    assert record.content == found, "what is measured can be shown"
    backbone = Backbone.load(snapshot, "internvl")
    last, zeros = LastTokenRetriever(backbone), MllmEncoder(backbone, BARE, queries=2).retriever
    for row, text in enumerate(TEXTS):
        for column, name in enumerate(SIZES):
            pixels = backbone.family.process(Image.open(pictures / name))
            (bare,) = (
                last.embed([tokenize_message(backbone, (text,))])
                @ last.embed([tokenize_message(backbone, (pixels,))]).T
            )
            asked, shown = (f"what is {text} ?",), (pixels, " what is in the picture ?")
            vectors = [whole_sequence(zeros, [tokenize_message(backbone, parts)]) for parts in (asked, shown)]
            cosines = [readout["cosine"][row][column] for readout in found["readouts"]]
            assert cosines == pytest.approx([bare.item(), (vectors[0] @ vectors[1].T).item()], abs=2e-6)


def test_images_may_be_those_of_a_sets_val_split(snapshot, pictures, tmp_path):
    """Images named by id have the same cosines as the same files in a folder."""
    items = [{"id": name.split(".")[0], "image": name, "captions": ["a ring"]} for name in SIZES]
    write_split(tmp_path / "drawn/val", "drawn", "val", "retrieval", items, root=pictures)
    named = {key: value for key, value in settings(pictures).items() if key != "folder"}
    named |= {"dataset": "drawn", "images": ["tall", "red"]}
    measure_pilot(named, snapshot, tmp_path, tmp_path / "set.json")
    measure_pilot(settings(pictures, images=["tall.png", "red.png"]), snapshot, tmp_path, tmp_path / "folder.json")
    one, other = (json.loads((tmp_path / name).read_text()) for name in ("set.json", "folder.json"))
    assert one["readouts"] == other["readouts"]
    with pytest.raises(SlqError, match="drawn/val: no image 'blue', which is listed under images in config"):
        find_pilot_images(named | {"images": ["blue"]}, tmp_path)


@pytest.mark.parametrize("fault", ["missing", "no image"])
def test_an_image_that_cannot_be_read_is_named(snapshot, pictures, tmp_path, capsys, fault):
    """The message comes before the backbone is loaded, and nothing is written."""
    if fault == "no image":
        (tmp_path / "cat.png").write_text("a cat")
    asked = settings(tmp_path, images=["cat.png"])
    paths = {"backbone_folder": tmp_path / "none", "data": tmp_path, "out": tmp_path / "pilot.json"}
    assert run_job("measure_pilot", "--threads", "1", settings=asked, **paths) != 0
    message = capsys.readouterr().err
    assert f"{tmp_path}/cat.png: not a readable image" in message and "name another image under images" in message
    assert not (tmp_path / "pilot.json").exists()


# ---- the figure ------------------------------------------------------------------------------------------------------

COSINES = {
    "one": [[[0.771, 0.834, 0.7749], [0.5, 0.5049, 0.501]], [[-0.001, -0.2, 0.004], [0.1, 0.2, 0.9]]],
    "other": [[[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]], [[0.5, 0.4, 0.3], [0.3, 0.4, 0.5]]],
}
SHOWN = {"preset": "mini", "backbones": [{"name": "one", "label": "One-1B"}, {"name": "other", "label": "Other-2B"}]}


@pytest.fixture
def results(tmp_path):
    """Results folder with the pilot files of two backbones."""
    for name, cosines in COSINES.items():
        readouts = [one | {"cosine": found} for one, found in zip(READOUTS, cosines, strict=True)]
        content = {"schema": 1, "backbone": name, "texts": TEXTS, "images": list(SIZES), "readouts": readouts}
        write_json(tmp_path / f"results/mini/{name}/pilot.json", content)
    return tmp_path / "results"


def test_the_figure_prints_every_cosine_and_the_highest_of_each_text_in_bold(results, pictures):
    """Cosines that print the same are all bold."""
    with figure_style():
        figure = draw_pilot(
            SHOWN, read_pilot_records(SHOWN, results), {name: open_pilot_image(pictures / name) for name in SIZES}
        )
    panels = [axes for axes in figure.get_axes() if axes.texts]
    assert [axes.get_title() for axes in panels] == ["last token", "two zero\nqueries"] * 2
    assert [axes.get_ylabel() for axes in panels] == ["One-1B", "", "Other-2B", ""]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [TEXTS[0], TEXTS[1].replace(" gr", "\ngr")]
    assert [text.get_text() for text in panels[0].texts] == ["0.77", "0.83", "0.77", "0.50", "0.50", "0.50"]
    assert [text.get_text() for text in panels[1].texts] == ["0.00", "-0.20", "0.00", "0.10", "0.20", "0.90"]
    bold = [[text.get_text() for text in axes.texts if text.get_weight() == "bold"] for axes in panels]
    assert bold[:3] == [["0.83", "0.50", "0.50", "0.50"], ["0.00", "0.00", "0.90"], ["0.30", "0.30"]]
    labels = [axes.get_xlabel() for axes in figure.get_axes()]
    assert labels[:3] == ["1: red.png", "2: wide.png", "3: tall.png"]


def test_the_same_results_give_the_same_bytes(results, pictures, tmp_path):
    asked = SHOWN | {"folder": str(pictures), "images": list(SIZES)}
    for name in ("a", "b"):
        assert run_job("render_pilot", settings=asked, results=results, data=tmp_path, out=tmp_path / name) == 0
    for name in ("pilot.svg", "pilot.png", "pilot.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = list(csv.DictReader((tmp_path / "a/pilot.csv").open()))
    assert len(rows) == 2 * 2 * 2 * 3
    assert rows[1] == {
        "figure": "pilot",
        "panel": "one last token",
        "series": TEXTS[0],
        "x": "wide.png",
        "y": "0.834",
        "source": "results/mini/one/pilot.json",
    }


@pytest.mark.parametrize(
    ("key", "value"), [("texts", ["a"]), ("images", ["b"]), ("readouts", READOUTS[:1]), ("schema", 9)]
)
def test_results_of_different_pilots_are_not_shown_together(results, pictures, tmp_path, key, value):
    path = results / "mini/other/pilot.json"
    write_json(path, json.loads(path.read_text()) | {key: value})
    with pytest.raises(SlqError, match=f"other/pilot.json: key {key} "):
        render_pilot(SHOWN, results, lambda name: open_pilot_image(pictures / name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- configuration and rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"folder": "data/pilot"}, "presets.mini.pilot must have exactly one of dataset, folder"),
        (
            {"dataset": "mini-mmmu"},
            "presets.mini.pilot.dataset is 'mini-mmmu', a retention dataset; expected a retrieval dataset",
        ),
        ({"readouts": ["last_tokn"]}, "presets.mini.pilot.readouts[0] is 'last_tokn', which is not under readouts"),
        ({"image": ["a.png"]}, "presets.mini.pilot.image is not a key here; did you mean 'images'?"),
    ],
)
def test_faults_of_a_pilot_are_said_before_anything_runs(raw_config, changed, message):
    raw_config["presets"]["mini"]["pilot"] |= changed
    with pytest.raises(SlqError) as caught:
        validate_config(raw_config)
    assert message in str(caught.value)


def test_the_settings_hold_whole_readouts(raw_config):
    found = baseline_settings.pilot_settings(raw_config, "mini-qwen3vl")
    pilot = raw_config["presets"]["mini"]["pilot"]
    assert found["readouts"] == [{"name": name, **raw_config["readouts"][name]} for name in pilot["readouts"]]
    assert (found["family"], found["dataset"], found["images"]) == ("qwen3_vl", "mini-coco", pilot["images"])


def test_the_rule_measures_every_backbone_and_asks_for_no_run(pristine):
    plan = planned(pristine, "--cores", "1", "pilot")
    made = {"pretrain_backbone": 2, "make_synthetic_split": 2, "measure_pilot": 2, "render_pilot": 1, "pilot": 1}
    assert plan == made


def test_a_preset_without_a_pilot_says_where_to_name_one(pristine):
    answer = snakemake(pristine, "-n", "--cores", "1", "pilot", "--config", "preset=paper")
    assert answer.returncode != 0
    assert "presets.paper.pilot is missing; list texts and images there (docs/tables.md, Pilot)" in answer.stdout
