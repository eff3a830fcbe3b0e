"""Scenes of two objects, and signs to read: all that there are, in shuffled orders that a seed decides."""

import hashlib
import random
from dataclasses import dataclass, replace
from itertools import permutations, product

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
PLACES = {"beside": ("left", "right"), "over": ("top", "bottom")}  # of the first and the second thing, by direction
WORDS = ("bus", "cat", "cup", "dog", "fox", "hat", "key", "map", "pen", "sun")
DIGITS = "0123456789"
SIGN_KINDS = ("word", "code", "words")  # of signs
DRAWINGS_PER_SIGN = 4  # of a word in a colour, or of two words: elsewhere on the picture
PRETRAINING_SHARE = (
    0.7  # share of each kind that pre-training may see; a code or pair of words that is asked was never seen
)


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
    relation: str

    @property
    def content_hash(self) -> str:
        """Identity of the content, whatever the drawing style."""
        return hashlib.sha256(f"{self.first}|{self.second}|{self.relation}".encode()).hexdigest()


def alter_scene(scene: Scene, rng: random.Random) -> Scene:
    """Another scene that differs in one thing: a color, a shape, which of the two is where, or the direction."""
    first, second, direction = scene.first, scene.second, scene.relation
    change = rng.choice(("colour", "shape", "order", "direction"))
    if change == "order":
        return Scene(second, first, direction)
    if change == "direction":
        return Scene(first, second, next(other for other in PLACES if other != direction))
    one, other = rng.sample((first, second), 2)
    values = COLOURS if change == "colour" else SHAPES
    changed = [replace(one, **{change: value}) for value in values if value != getattr(one, change)]
    new_thing = rng.choice([thing for thing in changed if thing != other])
    return replace(scene, first=new_thing) if one == first else replace(scene, second=new_thing)


def all_things() -> list[Thing]:
    """All 36 things."""
    return [Thing(colour, shape) for colour, shape in product(COLOURS, SHAPES)]


def all_scenes(seed: int) -> list[Scene]:
    """All 36 * 35 * 2 = 2,520 scenes in the seed's order; datasets and splits are disjoint slices of it."""
    scenes = [Scene(a, b, direction) for a, b in permutations(all_things(), 2) for direction in PLACES]
    random.Random(seed).shuffle(scenes)
    return scenes


def select_scenes(seed: int, first: int, count: int) -> list[Scene]:
    """A slice of the order; the configuration has already checked that it fits and overlaps no other."""
    return all_scenes(seed)[first : first + count]


@dataclass(frozen=True)
class SignLine:
    """Text in a colour."""

    text: str
    colour: str


@dataclass(frozen=True)
class Sign:
    """One line, or two, upper first; `drawing` tells apart signs that say the same."""

    kind: str
    lines: tuple[SignLine, ...]
    drawing: int

    @property
    def content_hash(self) -> str:
        """Identity of the content."""
        line_text = "|".join(f"{line.colour} {line.text}" for line in self.lines)
        return hashlib.sha256(f"{self.kind}|{line_text}|{self.drawing}".encode()).hexdigest()


def all_signs(seed: int, kind: str) -> list[Sign]:
    """All signs of a kind in the seed's order, those that say the same next to each other but for words.

    word: 10 words x 6 colours x 4 drawings. code: 100 codes x 6 colours. words: 90 ordered pairs x 4 drawings.
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
    """What pre-training may see."""
    return [sign for kind in SIGN_KINDS for sign in all_signs(seed, kind)[: num_pretraining_signs(seed, kind)]]


def held_out_signs(seed: int, first: int, count: int) -> list[Sign]:
    """A slice of what only tests show: the kinds by turns, as long as all last."""
    unseen = [all_signs(seed, kind)[num_pretraining_signs(seed, kind) :] for kind in SIGN_KINDS]
    for signs in unseen:
        random.Random(f"{seed} asked").shuffle(signs)
    return [sign for turn in zip(*unseen, strict=False) for sign in turn][first : first + count]


def num_pretraining_signs(seed: int, kind: str) -> int:
    """How many signs of a kind pre-training may see."""
    return round(PRETRAINING_SHARE * len(all_signs(seed, kind)))
