"""The mini world: a function of its seed, and disjoint where it must be."""

import json
from itertools import combinations

import pytest

from slq.config import load
from slq.settings import draw_settings
from slq.world.drawing import draw
from slq.world.language import captions, questions, vocabulary
from slq.world.scenes import COLOURS, SHAPES, all_scenes, take


def slices(config):
    """(set, split) -> scenes, as the rules draw them."""
    resolved = load(config)
    drawn = {}
    for name, entry in config["sets"].items():
        for split in entry.get("drawn", {}).get("scenes", {}):
            settings = json.loads(draw_settings(resolved, name, split))
            drawn[name, split] = take(settings["seed"], settings["first"], settings["count"])
    return drawn


def test_every_arrangement_once():
    scenes = all_scenes(7)
    assert len(scenes) == len({scene.hash for scene in scenes}) == 36 * 35 * 2
    assert scenes == all_scenes(7)
    assert scenes != all_scenes(8)


def test_sets_and_splits_share_no_scene_caption_or_question(raw_config):
    drawn = slices(raw_config)
    assert len(drawn) == 5
    said = {key: {text for scene in scenes for text in captions(scene)} for key, scenes in drawn.items()}
    asked = {key: {(scene.hash, q.text) for scene in scenes for q in questions(scene)} for key, scenes in drawn.items()}
    for a, b in combinations(drawn, 2):
        assert not {s.hash for s in drawn[a]} & {s.hash for s in drawn[b]}
        assert not said[a] & said[b]
        assert not asked[a] & asked[b]


def test_captions_tell_scenes_apart():
    seen = [text for scene in all_scenes(7) for text in captions(scene)]
    assert len(seen) == len(set(seen)) == 5 * 2520


def test_questions_have_one_answer_and_it_is_true():
    for scene in all_scenes(7)[:300]:
        for question in questions(scene):
            words = question.text.split()
            if words[0:4] == ["what", "color", "is", "the"] and words[4] in SHAPES:
                matching = {t.colour for t in (scene.first, scene.second) if t.shape == words[4]}
                assert matching == {question.answer}
            if words[0:3] == ["what", "shape", "is"] and words[3] in COLOURS:
                matching = {t.shape for t in (scene.first, scene.second) if t.colour == words[3]}
                assert matching == {question.answer}


def test_the_vocabulary_covers_everything_said():
    words = set(vocabulary())
    for scene in all_scenes(7)[:400]:
        text = " ".join([*captions(scene), *(f"{q.text} {q.answer}" for q in questions(scene))])
        assert set(text.split()) <= words


@pytest.mark.parametrize("style", ["filled", "outlined"])
def test_pictures_tell_scenes_apart_and_repeat_exactly(style):
    scenes = all_scenes(7)[:300]
    pictures = [draw(scene, style).tobytes() for scene in scenes]
    assert len(set(pictures)) == len(scenes)
    assert pictures[:5] == [draw(scene, style).tobytes() for scene in scenes[:5]]
