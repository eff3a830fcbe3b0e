"""Families of near neighbours, the scenes of mini-COCO's val and test splits."""

import re
from collections import Counter

import pytest

from slq.config import job_settings
from slq.config.loading import SYNTHETIC_CAPACITY, validate_config
from slq.datasets.splits import read_split
from slq.synthetic.datasets import draw_split
from slq.synthetic.families import FAMILY_SIZE, LOCATIONS, draw_trio, select_trios, trio_captions
from slq.synthetic.language import vocabulary
from slq.synthetic.scenes import SHAPES

SEED = 7
TRIOS = select_trios(SEED, 0, SYNTHETIC_CAPACITY["scenes"])


def what_differs(scene, other):
    """Name the one thing in which two scenes differ; fail if it is not one."""
    a, b = dict(scene), dict(other)
    if a.keys() != b.keys():
        moved = {a[place] for place in a.keys() - b.keys()} | {b[place] for place in b.keys() - a.keys()}
        assert len(moved) == 1 and all(a[place] == b[place] for place in a.keys() & b.keys())
        return "place"
    places = [place for place in a if a[place] != b[place]]
    if len(places) == 2:
        one, two = places
        assert (a[one], a[two]) == (b[two], b[one])
        return "order"
    (place,) = places
    colour, shape = a[place].colour != b[place].colour, a[place].shape != b[place].shape
    assert colour + shape == 1
    return "colour" if colour else "shape"


def test_every_scene_occurs_once_and_has_three_objects_at_three_places():
    assert len(TRIOS) == len(set(TRIOS)) == SYNTHETIC_CAPACITY["scenes"]
    for scene in TRIOS:
        assert len({place for place, _ in scene}) == len({one for _, one in scene}) == 3
    assert select_trios(SEED, 0, len(TRIOS)) == TRIOS and TRIOS[:10] != select_trios(SEED + 1, 0, 10)


def test_a_family_is_a_scene_and_nine_that_differ_from_it_in_one_thing():
    for start in range(0, len(TRIOS), FAMILY_SIZE):
        first, *others = TRIOS[start : start + FAMILY_SIZE]
        differences = Counter(what_differs(first, other) for other in others)
        assert differences == {"order": 3, "place": 2, "colour": 2, "shape": 2}


@pytest.mark.parametrize(("first", "count"), [(0, 7), (10, 20), (1720, 200), (1920, 200)])
def test_a_slice_is_part_of_the_whole(first, count):
    assert select_trios(SEED, first, count) == TRIOS[first : first + count]


def test_captions_say_the_whole_scene_in_words_that_backbones_know():
    """The oracle reads a caption word by word: a place names the object beside it."""
    words = set(vocabulary())
    for scene in TRIOS[:300]:
        for text in trio_captions(scene):
            assert set(text.split()) <= words
            said = {}
            for part in re.sub(r" and ", ",", text).replace(" there is", "").split(","):
                place = next(place for place in LOCATIONS if place in part.split())
                shape = next(shape for shape in SHAPES if shape in part.split())
                said[place] = next(one for _, one in scene if one.shape == shape and one.colour in part.split())
            assert said == dict(scene)
    captions = [text for scene in TRIOS for text in trio_captions(scene)]
    assert len(set(captions)) == len(captions)


def test_pictures_of_a_family_differ_and_repeat_exactly():
    pictures = [draw_trio(scene, "filled").tobytes() for scene in TRIOS[:100]]
    assert len(set(pictures)) == len(pictures)
    assert pictures[:5] == [draw_trio(scene, "filled").tobytes() for scene in TRIOS[:5]]


def test_splits_and_folds_of_the_mini_preset_are_whole_families(raw_config):
    config = validate_config(raw_config)
    entry = config["datasets"]["mini-coco"]
    assert entry["synthetic"]["families"] == ["val", "test"]
    for split in ("val", "test"):
        settings = job_settings.synthetic_split_settings(config, "mini-coco", split)
        assert settings["families"] and not settings["first"] % FAMILY_SIZE and not settings["count"] % FAMILY_SIZE
    assert not entry["variants"]["folds"]["fold"] % FAMILY_SIZE


def test_families_change_no_other_split(raw_config):
    """Pre-training data and retention datasets keep their slices, and so their bytes."""
    config = validate_config(raw_config)
    found = {}
    for name, entry in config["datasets"].items():
        for split in entry.get("synthetic", {}).get("scenes", {}):
            found[name, split] = job_settings.synthetic_split_settings(config, name, split)
    config["datasets"]["mini-coco"]["synthetic"].pop("families")
    for (name, split), settings in found.items():
        without = job_settings.synthetic_split_settings(config, name, split)
        assert without == settings | {"families": False}
        assert settings["families"] == ((name, split) in (("mini-coco", "val"), ("mini-coco", "test")))


def test_a_split_of_families_is_written_as_drawn(raw_config, tmp_path):
    settings = job_settings.synthetic_split_settings(validate_config(raw_config), "mini-coco", "test") | {"count": 20}
    draw_split(settings, tmp_path / "mini-coco" / "test")
    split, scenes = read_split(tmp_path, "mini-coco", "test"), TRIOS[settings["first"] : settings["first"] + 20]
    assert [item["captions"] for item in split.items] == [trio_captions(scene) for scene in scenes]
    for item, scene in zip(split.items, scenes, strict=True):
        assert split.open(item["image"]).tobytes() == draw_trio(scene, "filled").tobytes()
