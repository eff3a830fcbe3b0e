"""Scenes of two objects, and signs to read: all that exist, in an order that is shuffled by a seed."""

import hashlib
import random
from dataclasses import dataclass, replace
from itertools import permutations, product

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
PLACES = {"beside": ("left", "right"), "over": ("top", "bottom")}  # of the first and second object, by direction
WORDS = ("bus", "cat", "cup", "dog", "fox", "hat", "key", "map", "pen", "sun")
DIGITS = "0123456789"
SIGN_KINDS = ("word", "code", "words")
DRAWINGS_PER_SIGN = 4  # of one word in a colour, or of one pair of words: positions on the picture differ
# Share of the signs of each kind that pre-training may use; tests use only codes and pairs of words that it did not.
PRETRAINING_SHARE = 0.7


@dataclass(frozen=True)
class SceneObject:
    """An object: a coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Two different objects; `first` is left of `second` (`relation` is `beside`) or above it (`over`)."""

    first: SceneObject
    second: SceneObject
    relation: str

    @property
    def content_hash(self) -> str:
        """The identity of the content, whatever the drawing style."""
        return hashlib.sha256(f"{self.first}|{self.second}|{self.relation}".encode()).hexdigest()


def alter_scene(scene: Scene, rng: random.Random) -> Scene:
    """Return another scene that differs in one way: a colour, a shape, the order of its objects, or the direction."""
    first, second, direction = scene.first, scene.second, scene.relation
    change = rng.choice(("colour", "shape", "order", "direction"))
    if change == "order":
        return Scene(second, first, direction)
    if change == "direction":
        return Scene(first, second, next(other for other in PLACES if other != direction))
    one, other = rng.sample((first, second), 2)
    values = COLOURS if change == "colour" else SHAPES
    changed = [replace(one, **{change: value}) for value in values if value != getattr(one, change)]
    new_object = rng.choice([scene_object for scene_object in changed if scene_object != other])
    return replace(scene, first=new_object) if one == first else replace(scene, second=new_object)


def all_objects() -> list[SceneObject]:
    """Return all 36 objects."""
    return [SceneObject(colour, shape) for colour, shape in product(COLOURS, SHAPES)]


def all_scenes(seed: int) -> list[Scene]:
    """Return all 36 * 35 * 2 = 2,520 scenes in the seed's order; datasets and splits are disjoint slices of it."""
    scenes = [Scene(a, b, direction) for a, b in permutations(all_objects(), 2) for direction in PLACES]
    random.Random(seed).shuffle(scenes)
    return scenes


def select_scenes(seed: int, first: int, count: int) -> list[Scene]:
    """Return a slice of the seed's order.

    The configuration was checked before: the slice fits and overlaps no other.
    """
    return all_scenes(seed)[first : first + count]


@dataclass(frozen=True)
class SignLine:
    """A line of a sign: text in a colour."""

    text: str
    colour: str


@dataclass(frozen=True)
class Sign:
    """A sign with one line, or two with the upper first; `drawing` distinguishes signs that say the same."""

    kind: str
    lines: tuple[SignLine, ...]
    drawing: int

    @property
    def content_hash(self) -> str:
        """The identity of the content."""
        line_text = "|".join(f"{line.colour} {line.text}" for line in self.lines)
        return hashlib.sha256(f"{self.kind}|{line_text}|{self.drawing}".encode()).hexdigest()


def all_signs(seed: int, kind: str) -> list[Sign]:
    """Return all signs of a kind in the seed's order.

    Signs with the same text are next to each other, except those of the kind `word`. word: 10 words x 6 colours x 4
    drawings. code: 100 codes x 6 colours. words: 90 ordered pairs x 4 drawings.
    """
    rng = random.Random(f"{seed} {kind}")
    if kind == "word":
        signs = [Sign(kind, (SignLine(w, c),), d) for w, c, d in product(WORDS, COLOURS, range(DRAWINGS_PER_SIGN))]
        rng.shuffle(signs)
        return signs
    if kind == "code":
        codes = [f"{a} {b}" for a, b in product(DIGITS, DIGITS)]
        rng.shuffle(codes)
        return [Sign(kind, (SignLine(code, colour),), 0) for code, colour in product(codes, COLOURS)]
    pairs = list(permutations(WORDS, 2))
    rng.shuffle(pairs)
    return [
        Sign(kind, tuple(SignLine(word, rng.choice(COLOURS)) for word in pair), d)
        for pair, d in product(pairs, range(DRAWINGS_PER_SIGN))
    ]


def pretraining_signs(seed: int) -> list[Sign]:
    """Return all signs that pre-training may use."""
    return [sign for kind in SIGN_KINDS for sign in all_signs(seed, kind)[: num_pretraining_signs(seed, kind)]]


def held_out_signs(seed: int, first: int, count: int) -> list[Sign]:
    """Return a slice of the signs that only tests use; the kinds alternate until one of them runs out."""
    unseen = [all_signs(seed, kind)[num_pretraining_signs(seed, kind) :] for kind in SIGN_KINDS]
    for signs in unseen:
        random.Random(f"{seed} asked").shuffle(signs)
    return [sign for turn in zip(*unseen, strict=False) for sign in turn][first : first + count]


def num_pretraining_signs(seed: int, kind: str) -> int:
    """Return how many signs of a kind pre-training may use."""
    return round(PRETRAINING_SHARE * len(all_signs(seed, kind)))
