"""Datasets that need knowledge: drawn ones, a user's own queries, and the figure of recall by scale."""

import csv
import json
import random
import re
import shutil

import numpy as np
import pytest
import yaml

from asjob import run_job
from checkout import ROOT, SLICE, snakemake
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.datasets.splits import read_split
from slq.reporting.charts import scale_chart
from slq.reporting.figures import draw_figures
from slq.reporting.plots import draw_chart
from slq.reporting.style import figure_style
from slq.results.layout import parse_layout
from slq.results.load import Results
from slq.synthetic.benchmark_rows import CHOICE_REQUEST, MATCH_REQUEST, REQUESTS
from slq.synthetic.drawing import draw_scene
from slq.synthetic.families import select_trios, trio_captions, trio_knowledge_captions
from slq.synthetic.language import (
    COLOUR_PHRASES,
    SHAPE_PHRASES,
    all_phrases,
    knowledge_captions,
    scene_captions,
    vocabulary,
)
from slq.synthetic.scenes import COLOURS, SHAPES, all_scenes, alter_scene
from slq.synthetic.tasks import PretrainingTasks
from stored import MINI, REFERENCE, entries, mini_results

NAMED = {*SHAPES, *COLOURS}


# ---- drawn datasets --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The test split of mini-coco and the dataset over its pictures, as their rule draws them; their scenes."""
    data = tmp_path_factory.mktemp("data")
    config = validate_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
    for name in ("mini-coco", "mini-karr"):
        given = job_settings.synthetic_split_settings(config, name, "test")
        assert run_job("make_synthetic_split", settings=given, out=data / name / "test") == 0
    return data, select_trios(given["seed"], given["first"], given["count"])


def test_every_shape_and_color_has_phrases_without_a_word_of_the_world():
    assert set(SHAPE_PHRASES) == set(SHAPES) and set(COLOUR_PHRASES) == set(COLOURS)
    assert len(set(all_phrases())) == 2 * len(NAMED)
    assert not {word for phrase in all_phrases() for word in phrase.split()} & NAMED
    assert {word for phrase in all_phrases() for word in phrase.split()} <= set(vocabulary())


def test_captions_ask_for_knowledge_and_tell_every_scene_from_every_other():
    said = [text for scene in all_scenes(7) for text in knowledge_captions(scene)]
    assert len(said) == len(set(said)) == 2 * 2520
    assert not set(" ".join(said).split()) & NAMED


def test_a_caption_read_by_the_table_is_the_canonical_one():
    """The oracle knows only the phrases: with words in their place, a text is one of the scene's plain captions."""
    words = {
        phrase: word for table in (SHAPE_PHRASES, COLOUR_PHRASES) for word, pair in table.items() for phrase in pair
    }
    for scene in all_scenes(7)[:300]:
        for text in knowledge_captions(scene):
            for phrase, word in words.items():
                text = re.sub(rf"{phrase}\b", word, text)
            assert re.sub(r"(\w+) in (\w+)", r"a \2 \1", text) in scene_captions(scene)


def test_the_set_shows_the_pictures_of_another_and_says_other_things(drawn):
    data, scenes = drawn
    plain, karr = (read_split(data, name, "test") for name in ("mini-coco", "mini-karr"))
    assert len(karr.items) == 200 and karr.image_hashes == plain.image_hashes
    assert [item["captions"] for item in karr.items] == [trio_knowledge_captions(scene) for scene in scenes]
    assert [item["captions"] for item in plain.items] == [trio_captions(scene) for scene in scenes]


def test_a_set_over_anothers_pictures_takes_no_scene_from_a_drawn_set(raw_config):
    """The slices of the other datasets do not change when it is added, so neither do their bytes."""
    with_it = validate_config(raw_config)
    without = {
        **raw_config,
        "datasets": {name: entry for name, entry in raw_config["datasets"].items() if name != "mini-karr"},
    }
    for name in ("mini-coco", "mini-flickr30k", "mini-mmmu", "mini-realworldqa", "mini-ocrbench"):
        assert job_settings.synthetic_split_settings(with_it, name, "test") == job_settings.synthetic_split_settings(
            without, name, "test"
        )


# ---- verdicts on captions --------------------------------------------------------------------------------------------


def test_an_altered_scene_differs_in_one_thing_and_so_does_its_picture():
    draws, kinds = random.Random(1), set()
    for scene in all_scenes(7)[:400]:
        other = alter_scene(scene, draws)
        assert other in set(all_scenes(7)) - {scene}
        kept = [
            scene.relation == other.relation,
            {scene.first, scene.second} == {other.first, other.second},
            (scene.first == other.first) or (scene.second == other.second),
        ]
        kinds.add(tuple(kept))
        assert draw_scene(scene, "filled").tobytes() != draw_scene(other, "filled").tobytes()
    assert kinds == {(True, True, False), (False, True, True), (True, False, True)}


def test_a_verdict_says_whether_a_caption_belongs_to_the_picture():
    """The oracle knows the scene of every caption; about half of the captions belong to their picture."""
    scene_of = {text: scene for scene in all_scenes(7) for text in scene_captions(scene)}
    scenes = all_scenes(7)[:50]
    tasks = PretrainingTasks(None, [(scene, scene) for scene in scenes], [], [], random.Random(1))
    verdicts = []
    for _ in range(300):
        conversation = tasks.judge_caption_match()
        for asked, verdict in conversation.turns:
            text, request = asked.split("\n")
            assert request == MATCH_REQUEST and (verdict == "true") == (scene_of[text] == conversation.content[0])
            verdicts.append(verdict)
    assert 0.45 < verdicts.count("true") / len(verdicts) < 0.6


def test_knowledge_is_told_as_the_canonical_caption():
    tasks = PretrainingTasks(None, [(scene, None) for scene in all_scenes(7)[:50]], [], [], random.Random(1))
    conversations = [tasks.decode_knowledge_caption() for _ in range(100)]
    told = {conversation.content[0]: conversation.turns for conversation in conversations}
    plain = {text: scene_captions(scene)[0] for scene in all_scenes(7)[:50] for text in knowledge_captions(scene)}
    assert len(told) > 50 and told == {text: [("", plain[text])] for text in told}


def test_what_re_ranking_asks_is_a_request_that_pre_training_has_seen():
    assert MATCH_REQUEST == "is this in the picture ? true or false" and MATCH_REQUEST in REQUESTS
    assert CHOICE_REQUEST == "which caption is in the picture ?" and CHOICE_REQUEST in REQUESTS
    assert {"true", "false", "1.", "2.", "3.", "4.", "5."} <= set(vocabulary())


# ---- a user's own queries --------------------------------------------------------------------------------------------


@pytest.fixture
def gather(drawn, tmp_path):
    """Function that gathers lines about mini-coco's pictures into a split `mine`; returns the exit status."""
    data, _ = drawn

    def call(*lines):
        text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        (tmp_path / "queries.jsonl").write_text(text)
        given = {"dataset": "mine", "images_of": "mini-coco"}
        out = tmp_path / "mine" / "test"
        return run_job("import_queries", settings=given, queries=tmp_path / "queries.jsonl", data=data, out=out)

    return call


def ids(drawn):
    return [item["id"] for item in read_split(drawn[0], "mini-coco", "test").items]


def test_the_gallery_is_the_images_named_in_the_sets_order(gather, drawn, tmp_path):
    names = ids(drawn)
    lines = [(names[7], "a coin"), (names[2], " a kite "), (names[7], "a full moon"), (names[2], "a coin")]
    assert gather(*({"image": image, "query": query} for image, query in lines)) == 0
    mine, plain = read_split(tmp_path, "mine", "test"), read_split(drawn[0], "mini-coco", "test")
    assert [(item["id"], item["captions"]) for item in mine.items] == [
        (names[2], ["a kite", "a coin"]),
        (names[7], ["a coin", "a full moon"]),
    ]
    assert mine.image_hashes == {item["image"]: plain.image_hashes[item["image"]] for item in mine.items}
    for item in mine.items:
        assert np.array_equal(mine.open(item["image"]), plain.open(item["image"]))


FAULTS = {
    "an unknown image": (
        {"image": "nobody", "query": "a coin"},
        ":2: no image 'nobody' in mini-coco/test; expected one",
    ),
    "no query": ({"image": "ID", "query": " "}, ":2: the query is empty; expected a query with at least one word"),
    "the same line": (
        {"image": "ID", "query": "a kite"},
        ":2: the same image and query as line 1; remove one of the lines",
    ),
    "another key": ({"image": "ID", "text": "a coin"}, ":2: found keys image, text; expected {"),
    "a number": ({"image": 7, "query": "a coin"}, ":2: image and query must be text; expected {"),
    "no object": (["ID", "a coin"], ":2: not a JSON object, found ['"),
    "half a character": ({"image": "ID", "query": "a \ud83d coin"}, ":2: contains half a character"),
    "no JSON": ("a coin", ":2: not valid JSON"),
}


@pytest.mark.parametrize(("line", "message"), FAULTS.values(), ids=list(FAULTS))
def test_a_fault_in_a_file_of_queries_names_its_line(gather, drawn, tmp_path, capsys, line, message):
    name = ids(drawn)[0]
    line = json.loads(json.dumps(line).replace("ID", name))
    assert gather({"image": name, "query": "a kite"}, line) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"slq: error: {tmp_path}/queries.jsonl{message}") and error.count("\n") == 1
    assert not (tmp_path / "mine").exists()


def test_a_file_of_queries_that_is_empty_or_absent_says_what_is_expected(gather, drawn, tmp_path, capsys):
    assert gather() == 1
    assert "queries.jsonl: no query; expected one query per line" in capsys.readouterr().err
    given = {"dataset": "mine", "images_of": "mini-coco"}
    assert (
        run_job(
            "import_queries", settings=given, queries=tmp_path / "absent", data=drawn[0], out=tmp_path / "mine/test"
        )
        == 1
    )
    assert "absent: not found; expected a file with one query per line" in capsys.readouterr().err


def test_the_workflow_gathers_a_file_and_reads_it_again_when_it_changes(checkout):
    """The rules make the split from the drawn one, and make it again when the file changes."""
    mine = {
        "label": "mine",
        "paper_column": "mine",
        "kind": "retrieval",
        "queries": "mine.jsonl",
        "images_of": "mini-coco",
    }
    (checkout / "mine.yaml").write_text(yaml.safe_dump({"datasets": {"mine": mine}}))
    target = "scratch/data/mine/test/manifest.json"
    arguments = [*SLICE, "mine.yaml", "--rerun-triggers", "mtime", "params", "input", "--", target]
    for query in ("a coin", "a kite"):
        (checkout / "mine.jsonl").write_text(json.dumps({"image": "000113", "query": query}) + "\n")
        answer = snakemake(checkout, *arguments)
        assert answer.returncode == 0, answer.stdout
        assert [item["captions"] for item in read_split(checkout / "scratch/data", "mine", "test").items] == [[query]]


# ---- recall by scale -------------------------------------------------------------------------------------------------


LAYOUT = MINI | {"knowledge_datasets": entries(("mini-k", "mini-K", "karr"))}


@pytest.fixture
def results(tmp_path):
    """Stored runs with equal recalls on mini-k and mini-c; A has 1,000 parameters, B 4,000, adapters not counted."""
    folder = mini_results(tmp_path)
    for path in folder.glob("mini/*/*/*/retrieval/mini-c.json"):
        path.with_name("mini-k.json").write_bytes(path.read_bytes())
    for path in folder.glob("mini/*/*/*/run.json"):
        content = json.loads(path.read_text())
        own = 1000 if content["backbone"] == "mini-a" else 4000
        content["parameters"]["total"] = own + (7 if content["method"] == "full_ft" else 0)
        path.write_text(json.dumps(content))
    return folder


def test_every_point_by_scale_is_a_stored_recall_at_the_size_of_its_backbone(results, tmp_path):
    draw_figures(LAYOUT, results, REFERENCE, tmp_path / "out")
    with open(tmp_path / "out/figures.csv", newline="") as file:
        points = [row for row in csv.DictReader(file) if row["figure"] == "scale"]
    stored = sorted(results.glob("mini/*/*/*/retrieval/mini-k.json"))
    assert len(points) == 2 * 2 * len(stored)
    for point in points:
        run_, way = point["series"].rsplit(" ", 1)
        set_, metric = point["panel"].split(" ")
        file = results / "mini" / run_ / "retrieval" / f"{set_}.json"
        assert float(point["y"]) == json.loads(file.read_text())["metrics"][way.lower()][metric]
        assert float(point["x"]) == {"mini-a": 1000, "mini-b": 4000}[run_.split("/")[0]]
    for kind in ("svg", "png"):
        assert (tmp_path / "out" / f"scale.{kind}").stat().st_size > 5000


def test_without_a_set_that_asks_for_knowledge_there_is_no_such_figure(results, tmp_path):
    draw_figures(MINI, results, REFERENCE, tmp_path / "out")
    assert not list((tmp_path / "out").glob("scale.*"))
    assert "scale" not in (tmp_path / "out/figures.csv").read_text()


def test_a_run_that_is_missing_is_named(results):
    (results / "mini/mini-a/full_ft/seed1/retrieval/mini-k.json").unlink()
    layout = parse_layout(LAYOUT | {"seeds": [1]})
    with figure_style():
        figure = draw_chart(scale_chart(Results(results, layout)), layout)
    said = " ".join(text.get_text() for text in figure.texts)
    assert "Full FT on A-mini" in " ".join(said.split())


def test_a_line_by_scale_runs_through_means_over_seeds_and_sizes_print_as_in_tables(results):
    for path in list(results.glob("mini/*/slq/seed1")):
        other = shutil.copytree(path, path.with_name("seed2"))
        for name, change in (("run.json", {"seed": 2}), ("retrieval/mini-k.json", {})):
            content = json.loads((other / name).read_text()) | change
            if not change:
                content["metrics"]["t2i"]["R@1"] += 10
            (other / name).write_text(json.dumps(content))
    layout = parse_layout(LAYOUT | {"seeds": [1, 2]})
    with figure_style():
        axes = draw_chart(scale_chart(Results(results, layout)), layout).axes[0]
    assert [[1000, 65.0], [4000, 70.0]] in [line.get_xydata().tolist() for line in axes.lines]
    printed = axes.xaxis.get_major_formatter()
    assert [printed(count) for count in (500_000, 2e6, 8e9, 70)] == ["500k", "2.0M", "8.0B", "70"]
    for sizes in ((611_000, 753_000), (0.9e9, 8e9)):
        ticks = axes.xaxis.get_major_locator().tick_values(*sizes)
        assert 1 <= sum(sizes[0] <= tick <= sizes[1] for tick in ticks) <= 4, "labels that stand apart"
