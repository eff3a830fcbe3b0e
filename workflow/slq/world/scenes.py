"""Scenes of two objects: every arrangement there is, in one shuffled order that a seed decides."""

import hashlib
import random
from dataclasses import dataclass, replace
from itertools import permutations, product

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
PLACES = {"beside": ("left", "right"), "over": ("top", "bottom")}  # of the first and the second thing, by direction


@dataclass(frozen=True)
class Thing:
    """A coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Two different things; `first` is left of `second` (beside) or above it (over)."""

    first: Thing
    second: Thing
    direction: str

    @property
    def hash(self) -> str:
        """Identity of the content, whatever the drawing style."""
        return hashlib.sha256(f"{self.first}|{self.second}|{self.direction}".encode()).hexdigest()


def altered(scene: Scene, draw: random.Random) -> Scene:
    """Another scene that differs in one thing: a color, a shape, which of the two is where, or the direction."""
    first, second, direction = scene.first, scene.second, scene.direction
    what = draw.choice(("colour", "shape", "order", "direction"))
    if what == "order":
        return Scene(second, first, direction)
    if what == "direction":
        return Scene(first, second, next(other for other in PLACES if other != direction))
    one, other = draw.sample((first, second), 2)
    values = COLOURS if what == "colour" else SHAPES
    changed = [replace(one, **{what: value}) for value in values if value != getattr(one, what)]
    new = draw.choice([thing for thing in changed if thing != other])
    return replace(scene, first=new) if one == first else replace(scene, second=new)


def all_things() -> list[Thing]:
    """All 36 things."""
    return [Thing(colour, shape) for colour, shape in product(COLOURS, SHAPES)]


def all_scenes(seed: int) -> list[Scene]:
    """All 36 * 35 * 2 = 2,520 scenes in the seed's order; sets and splits are disjoint slices of it."""
    scenes = [Scene(a, b, direction) for a, b in permutations(all_things(), 2) for direction in PLACES]
    random.Random(seed).shuffle(scenes)
    return scenes


def take(seed: int, first: int, count: int) -> list[Scene]:
    """A slice of the order; the configuration has already checked that it fits and overlaps no other."""
    return all_scenes(seed)[first : first + count]
