"""The mini preset's synthetic data: a function of its seed, and disjoint where it must be."""

import re
from collections import Counter
from itertools import combinations

import pytest
import yaml

from checkout import ROOT
from slq.config.job_settings import synthetic_split_settings
from slq.config.loading import SYNTHETIC_CAPACITY, validate_config
from slq.datasets.hub_columns import HUB_LAYOUTS
from slq.datasets.questions import question_segments
from slq.datasets.splits import read_split
from slq.synthetic.backbones import build_tokenizer
from slq.synthetic.benchmark_rows import REQUESTS
from slq.synthetic.datasets import draw_split
from slq.synthetic.drawing import draw_scene, draw_sign
from slq.synthetic.families import select_trios, trio_captions
from slq.synthetic.language import scene_captions, scene_questions, vocabulary
from slq.synthetic.scenes import (
    COLOURS,
    PLACES,
    SHAPES,
    Scene,
    all_scenes,
    held_out_signs,
    pretraining_signs,
    select_scenes,
)


def slices(config):
    """(dataset, split) -> scenes, as the rules draw them."""
    resolved = validate_config(config)
    drawn = {}
    for name, entry in config["datasets"].items():
        for split in entry.get("synthetic", {}).get("scenes", {}):
            settings = synthetic_split_settings(resolved, name, split)
            select = select_trios if settings["families"] else select_scenes
            drawn[name, split] = select(settings["seed"], settings["first"], settings["count"])
    return drawn


def captions_of(scene):
    return scene_captions(scene) if isinstance(scene, Scene) else trio_captions(scene)


def test_every_arrangement_once():
    scenes = all_scenes(7)
    assert len(scenes) == len({scene.content_hash for scene in scenes}) == 36 * 35 * 2
    assert scenes == all_scenes(7)
    assert scenes != all_scenes(8)


def test_sets_and_splits_share_no_scene_caption_or_question(raw_config):
    drawn = slices(raw_config)
    assert len(drawn) == 6
    said = {key: {text for scene in scenes for text in captions_of(scene)} for key, scenes in drawn.items()}
    asked = {
        key: {
            (scene.content_hash, q.text) for scene in scenes if isinstance(scene, Scene) for q in scene_questions(scene)
        }
        for key, scenes in drawn.items()
    }
    for a, b in combinations(drawn, 2):
        assert not set(drawn[a]) & set(drawn[b])
        assert not said[a] & said[b]
        assert not asked[a] & asked[b]


def test_captions_tell_scenes_apart():
    seen = [text for scene in all_scenes(7) for text in scene_captions(scene)]
    assert len(seen) == len(set(seen)) == 5 * 2520


def test_questions_have_one_answer_and_it_is_true():
    for scene in all_scenes(7)[:300]:
        for question in scene_questions(scene):
            words = question.text.split()
            if words[0:4] == ["what", "color", "is", "the"] and words[4] in SHAPES:
                matching = {t.colour for t in (scene.first, scene.second) if t.shape == words[4]}
                assert matching == {question.answer}
            if words[0:3] == ["what", "shape", "is"] and words[3] in COLOURS:
                matching = {t.shape for t in (scene.first, scene.second) if t.colour == words[3]}
                assert matching == {question.answer}
            if words[0] == "where":
                thing = (scene.first, scene.second)[PLACES[scene.relation].index(question.answer)]
                assert question.text == f"where is the {thing} ?"


def test_the_vocabulary_covers_everything_said():
    words = set(vocabulary())
    for scene in all_scenes(7)[:400]:
        text = " ".join([*scene_captions(scene), *(f"{q.text} {q.answer}" for q in scene_questions(scene))])
        assert set(text.split()) <= words


@pytest.mark.parametrize("style", ["filled", "outlined"])
def test_pictures_tell_scenes_apart_and_repeat_exactly(style):
    scenes = all_scenes(7)[:300]
    pictures = [draw_scene(scene, style).tobytes() for scene in scenes]
    assert len(set(pictures)) == len(scenes)
    assert pictures[:5] == [draw_scene(scene, style).tobytes() for scene in scenes[:5]]
    signs = pretraining_signs(7)
    pictures = [draw_sign(sign, style).tobytes() for sign in signs]
    assert len(set(pictures)) > 0.95 * len(signs)  # drawings of a word differ by a pixel at least, as a rule
    assert pictures[:5] == [draw_sign(sign, style).tobytes() for sign in signs[:5]]


def test_signs_that_are_asked_were_never_learned():
    learned, asked = pretraining_signs(7), held_out_signs(7, 0, SYNTHETIC_CAPACITY["signs"])
    assert len(asked) == SYNTHETIC_CAPACITY["signs"] and len(set(asked)) == len(asked)
    assert not {sign.content_hash for sign in learned} & {sign.content_hash for sign in asked}
    # A code, or a pair of words, in a question never occurs in training in any colour, so it must be read.
    said = [
        {tuple(line.text for line in sign.lines) for sign in signs if sign.kind != "word"} for signs in (learned, asked)
    ]
    assert not said[0] & said[1]


@pytest.fixture(scope="module")
def retention(tmp_path_factory):
    """The mini preset's retention datasets by name, as their rule draws them."""
    data = tmp_path_factory.mktemp("data")
    config = validate_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
    for name in config["presets"]["mini"]["retention_datasets"]:
        draw_split(synthetic_split_settings(config, name, "test"), data / name / "test")
    return {name: read_split(data, name, "test") for name in config["presets"]["mini"]["retention_datasets"]}


def by_type(split):
    types = {}
    for item in split.items:
        types.setdefault(item["type"], []).append(item)
    return types


def test_every_type_of_question_has_four_answers_or_more_in_balance(retention):
    """An answer has at most 1.5 times its even share, or a tenth of all; the four options are right equally often."""
    for name, split in retention.items():
        for kind, items in by_type(split).items():
            counts = Counter(item["answers"][0] for item in items)
            assert len(counts) >= 4, (name, kind, counts)
            assert max(counts.values()) <= max(1.5 / len(counts), 0.1) * len(items), (name, kind, counts)
            texts = Counter(item["options"]["ABCD".index(item["answers"][0])] for item in items if item["options"])
            if texts:
                assert len(texts) >= 4 and max(texts.values()) <= 1.5 * len(items) / len(texts), (name, kind, texts)
            assert all(len(set(item["options"])) == 4 for item in items if item["options"])


def test_questions_stand_in_the_columns_of_the_hub(retention):
    assert {name.removeprefix("mini-") for name in retention} == set(HUB_LAYOUTS)
    assert {kind: len(items) for kind, items in by_type(retention["mini-mmmu"]).items()} == {
        "Attributes": 100,
        "Pairs": 100,
        "Positions": 100,
    }
    assert {len(item["images"]) for item in by_type(retention["mini-mmmu"])["Pairs"]} == {2}
    assert {len(items) for items in by_type(retention["mini-realworldqa"]).values()} == {100}
    assert {len(items) for items in by_type(retention["mini-ocrbench"]).values()} == {60}


def test_what_is_asked_is_in_the_vocabulary(retention):
    words = set(vocabulary())
    for split in retention.values():
        for item in split.items:
            text = item["question"]
            for request in REQUESTS:
                text = text.replace(request, "")
            asked = set(re.sub(r"<image \d>", " ", text).split())
            asked |= set() if item["options"] else set(" ".join(item["answers"]).split())
            assert asked <= words, asked - words


def test_a_mini_backbone_is_asked_without_the_blanks_beside_a_marker(retention):
    """The template has one line per part, so the blanks that separate a marker in the question are left out."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    for backbone in config["presets"]["mini"]["backbones"]:
        tokenizer = build_tokenizer(config["backbones"][backbone]["pretrain"]["markup"])
        for split in retention.values():
            for item in split.items:
                parts = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                         for part in question_segments(item)]  # fmt: skip
                turn = [{"role": "user", "content": parts}]
                text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
                asked = re.sub(r" *<image \d> *", "", item["question"])
                lines = text.split("\n")
                assert lines[1 + len(item["images"]) : -3] == asked.split("\n"), item["id"]
                assert len(set(lines[1 : 1 + len(item["images"])])) == 1 and "<" in lines[1]
