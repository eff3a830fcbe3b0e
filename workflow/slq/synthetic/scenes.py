"""Scenes of two objects, and signs with text, each as a list of all possible ones that a seed shuffles."""

import hashlib
import random
from dataclasses import dataclass, replace
from itertools import permutations, product

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
# Places of the first and the second object, by direction.
PLACES = {"beside": ("left", "right"), "over": ("top", "bottom")}
WORDS = ("bus", "cat", "cup", "dog", "fox", "hat", "key", "map", "pen", "sun")
DIGITS = "0123456789"
SIGN_KINDS = ("word", "code", "words")
# Number of drawings of a word in a colour, or of a pair of words; their positions in the image differ.
DRAWINGS_PER_SIGN = 4
# Share of the signs of each kind that pre-training may use. Tests use only codes and pairs of words that pre-training
# does not use.
PRETRAINING_SHARE = 0.7


@dataclass(frozen=True)
class SceneObject:
    """Object of a scene: a coloured shape."""

    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """Scene of two different objects; `first` is left of `second` (`relation` `beside`) or above it (`over`)."""

    first: SceneObject
    second: SceneObject
    relation: str

    @property
    def content_hash(self) -> str:
        """Hash of the content, independent of the drawing style."""
        return hashlib.sha256(f"{self.first}|{self.second}|{self.relation}".encode()).hexdigest()


def alter_scene(scene: Scene, rng: random.Random) -> Scene:
    """Return a scene with one change: a colour, a shape, the order of the objects, or the direction."""
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
    """Return all 36 * 35 * 2 = 2,520 scenes, shuffled by the seed; datasets and splits are disjoint slices of them."""
    scenes = [Scene(a, b, direction) for a, b in permutations(all_objects(), 2) for direction in PLACES]
    random.Random(seed).shuffle(scenes)
    return scenes


def select_scenes(seed: int, first: int, count: int) -> list[Scene]:
    """Return a slice of the shuffled scenes.

    The validation of the configuration ensures that slices fit into the list and do not overlap.
    """
    return all_scenes(seed)[first : first + count]


@dataclass(frozen=True)
class SignLine:
    """Line of a sign: text in a colour."""

    text: str
    colour: str


@dataclass(frozen=True)
class Sign:
    """Sign with one or two lines, the upper line first; `drawing` distinguishes signs with the same lines."""

    kind: str
    lines: tuple[SignLine, ...]
    drawing: int

    @property
    def content_hash(self) -> str:
        """Hash of the content."""
        line_text = "|".join(f"{line.colour} {line.text}" for line in self.lines)
        return hashlib.sha256(f"{self.kind}|{line_text}|{self.drawing}".encode()).hexdigest()


def all_signs(seed: int, kind: str) -> list[Sign]:
    """Return all signs of a kind, shuffled by the seed.

    - `word`: 10 words x 6 colours x 4 drawings.
    - `code`: 100 codes x 6 colours; signs with the same code are adjacent.
    - `words`: 90 ordered pairs of words x 4 drawings; signs with the same pair are adjacent.
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
    """Return the signs that pre-training may use."""
    return [sign for kind in SIGN_KINDS for sign in all_signs(seed, kind)[: num_pretraining_signs(seed, kind)]]


def held_out_signs(seed: int, first: int, count: int) -> list[Sign]:
    """Return a slice of the signs that only tests use; the kinds alternate until one kind is exhausted."""
    unseen = [all_signs(seed, kind)[num_pretraining_signs(seed, kind) :] for kind in SIGN_KINDS]
    for signs in unseen:
        random.Random(f"{seed} asked").shuffle(signs)
    return [sign for turn in zip(*unseen, strict=False) for sign in turn][first : first + count]


def num_pretraining_signs(seed: int, kind: str) -> int:
    """Return the number of signs of a kind that pre-training may use."""
    return round(PRETRAINING_SHARE * len(all_signs(seed, kind)))
