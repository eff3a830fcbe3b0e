"""Whose images a set has: its own slice of the drawn world, or another set's, of which it says something else.

Imported whenever the Snakefile is read, so nothing heavy here.
"""

from typing import Any

from slq.errors import SlqError

Config = dict[str, Any]
SPLIT = ("test",)  # the only one of a set over another's images: nothing is trained on it

# How much the drawn world holds: ordered pairs of its 36 different things, in two directions; 72 signs of each of the
# three kinds that pre-training does not see.
WORLD = {"scenes": 36 * 35 * 2, "signs": 3 * 72}
DRAWN = (*WORLD, "scenes_of")  # of a drawn set, what it shows: its own slice of the world, or another set's scenes


def is_derived(entry: Config) -> bool:
    """Whether a set's images are another's."""
    return "queries" in entry or "scenes_of" in entry.get("drawn", {})


def origin(entry: Config) -> str:
    """The set whose images a derived set has."""
    name: str = entry["of"] if "queries" in entry else entry["drawn"]["scenes_of"]
    return name


def drawn_of(entry: Config) -> str:
    """What a drawn set shows: scenes, signs, or another set's scenes (`scenes_of`)."""
    return next(what for what in DRAWN if what in entry["drawn"])


def check_scenes(sets: Config) -> None:
    """Drawn splits are disjoint slices of all scenes, or signs, so together they cannot hold more than there are."""
    entries = [entry for entry in sets.values() if "drawn" in entry]
    for what, there in WORLD.items():
        asked = sum(sum(entry["drawn"][what].values()) for entry in entries if drawn_of(entry) == what)
        if asked > there:
            raise SlqError(f"config: the drawn sets ask for {asked} {what} (sets.*.drawn.{what}); there are {there}")


def check_groups(key: str, preset: Config) -> None:
    """A set is in the tables or in the figure by scale: its files are made once.

    Raises:
        SlqError: a preset names it for both.
    """
    both = [name for name in preset["knowledge_sets"] if name in preset["retrieval_sets"]]
    if both:
        raise SlqError(f"config: {key}.knowledge_sets and {key}.retrieval_sets both name '{both[0]}'; take one out")


def check_images_of(key: str, entry: Config, sets: Config) -> None:
    """A set over another's images names one that has them itself, says no style of its own, and has no questions.

    Raises:
        SlqError: the first key that is missing, says nothing here, or names another kind of set.
    """
    drawn = entry.get("drawn", {})
    _together(key, entry, "queries", "of", "queries are about the images of a set")
    if drawn and ("style" in drawn) == ("scenes_of" in drawn):
        said = "is missing" if "style" not in drawn else f"says nothing about the pictures of '{drawn['scenes_of']}'"
        raise SlqError(f"config: {key}.drawn.style {said}; what is drawn anew has a style, and only that")
    if "words" in drawn and entry["kind"] != "retrieval":
        raise SlqError(f"config: {key}.drawn.words is of captions, and {key}.kind {entry['kind']}; take it out")
    if not is_derived(entry):
        return
    if entry["kind"] != "retrieval":
        raise SlqError(f"config: {key}.kind is {entry['kind']}; queries and other captions make a retrieval set")
    where = f"{key}.of" if "queries" in entry else f"{key}.drawn.scenes_of"
    other = sets.get(origin(entry))
    if other is None or is_derived(other) or other["kind"] != "retrieval":
        raise SlqError(f"config: {where} is '{origin(entry)}'; expected a retrieval set with images of its own")
    if "drawn" in entry and "test" not in other.get("drawn", {}).get("scenes", {}):
        raise SlqError(f"config: {where} is '{origin(entry)}'; expected a drawn set with a test split")


def _together(key: str, entry: Config, one: str, other: str, why: str) -> None:
    """Two keys of which neither means anything alone."""
    if (one in entry) != (other in entry):
        missing = other if one in entry else one
        raise SlqError(f"config: {key}.{missing} is missing; {why}, and {one} and {other} go together")
