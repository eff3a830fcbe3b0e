"""Scenes of three objects, in families of near neighbours: ten scenes that differ from the first in one thing.

A gallery of scenes of two objects is too easy: a tuned retriever confuses only the four arrangements of two objects, so
that the right one is always among the first five, even in a gallery of all 2,520 scenes (docs/log.md).
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from PIL import Image

from slq.synthetic.drawing import draw_objects
from slq.synthetic.language import describe_object
from slq.synthetic.scenes import COLOURS, SHAPES, SceneObject, all_objects

# Objects by place, in the order of LOCATIONS.
Trio = tuple[tuple[str, SceneObject], ...]

# Words for each place of an object.
LOCATIONS = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
# Scenes of a family beside its first one, by what differs: two objects change places (there are three such pairs), one
# object is at the free place, one has another colour, one has another shape. Five have the objects of the first scene,
# so that a retriever that does not know the places of objects has a recall at 5 below 100 %.
NEIGHBOURS = {"order": 3, "place": 2, "colour": 2, "shape": 2}
FAMILY_SIZE = 1 + sum(NEIGHBOURS.values())


def select_trios(seed: int, first: int, count: int) -> list[Trio]:
    """Return the slice [first, first + count) of an endless list of different scenes; families are adjacent."""
    rng, found = random.Random(f"{seed} families"), dict[Trio, None]()
    while len(found) < first + count:
        family = draw_family(rng)
        if not found.keys() & set(family):
            found |= dict.fromkeys(family)
    return list(found)[first : first + count]


def draw_family(rng: random.Random) -> list[Trio]:
    """Draw a scene of three different objects, and its near neighbours."""
    places = sorted(rng.sample(list(LOCATIONS), 3), key=list(LOCATIONS).index)
    scene = tuple(zip(places, rng.sample(all_objects(), 3), strict=True))
    found = [scene]
    for difference, count in NEIGHBOURS.items():
        found += rng.sample(list_neighbours(scene, difference), count)
    return found


def list_neighbours(scene: Trio, difference: str) -> list[Trio]:
    """Return all scenes of three different objects that differ from a scene in one thing, a key of NEIGHBOURS."""
    objects = dict(scene)
    if difference == "order":
        changed = [objects | {a: objects[b], b: objects[a]} for a, b in combinations(objects, 2)]
    elif difference == "place":
        free = next(place for place in LOCATIONS if place not in objects)
        changed = [{free if place == moved else place: objects[place] for place in objects} for moved in objects]
    else:
        values = COLOURS if difference == "colour" else SHAPES
        changed = [
            objects | {place: replace(scene_object, **{difference: value})}
            for place, scene_object in scene
            for value in values
        ]
        changed = [one for one in changed if one != objects and len(set(one.values())) == len(objects)]
    return [tuple((place, one[place]) for place in LOCATIONS if place in one) for one in changed]


def draw_trio(scene: Trio, style: str) -> Image.Image:
    """Draw a scene of three objects; the same scene and style give the same pixels."""
    return draw_objects(scene, hashlib.sha256(describe_by_object(scene).encode()).hexdigest(), style)


def trio_captions(scene: Trio) -> list[str]:
    """Return five captions of a scene, worded as those of two objects; each is true of no other scene."""
    plain = [(place, f"a {scene_object}") for place, scene_object in scene]
    shape_first = [(place, f"a {scene_object.shape} in {scene_object.colour}") for place, scene_object in scene]
    return [
        describe_by_object(plain),
        describe_by_place(plain),
        describe_by_object(shape_first),
        describe_by_object(shape_first[::-1]),
        describe_by_place(plain[::-1]),
    ]


def trio_knowledge_captions(scene: Trio) -> list[str]:
    """Return the two captions of a scene without names of shapes and colours; each is true of no other scene."""
    first, second = ([(place, describe_object(one, phrase)) for place, one in scene] for phrase in (0, 1))
    return [describe_by_object(first), describe_by_place(second[::-1])]


def describe_by_object(placed: Sequence[tuple[str, Any]]) -> str:
    """Describe each object, followed by its place, such as "a red circle on the left and a blue ring at the top"."""
    return " and ".join(f"{text} {LOCATIONS[place]}" for place, text in placed)


def describe_by_place(placed: Sequence[tuple[str, Any]]) -> str:
    """Describe each place, followed by its object: "on the left there is a red circle and at the top a blue ring"."""
    (place, text), *others = placed
    return " and ".join([f"{LOCATIONS[place]} there is {text}", *(f"{LOCATIONS[one]} {text}" for one, text in others)])
