"""The configuration: checked once, before anything runs, with one message for the first fault.

Snakemake imports this module whenever it reads the Snakefile, in every cluster job too: nothing heavy may enter here.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

from slq.drawn import DRAWN, SPLIT, check_groups, check_images_of, check_scenes, drawn_of, is_derived
from slq.errors import SlqError
from slq.listed import check_reading
from slq.rows import check_comparator, check_pilot, check_rows
from slq.runs import check_prefixes, check_stops
from slq.standing import check_scored, check_standing
from slq.unfit import check_fit
from slq.yamls import read_yaml

Config = dict[str, Any]

PACKAGE = Path(__file__).parent
SCHEMAS = PACKAGE.parent / "schemas"
SCHEMA = SCHEMAS / "config.schema.yaml"
SPLITS = ("train", "val", "test")
# Of a part of a source, by its kind: the keys that it needs, and those that it may have besides `gb` and `count`.
PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "model": (("revision",), ("files", "from_listing")),
    "dataset": (("revision", "files"), ("from_listing",)),
    "archive": (("files",), ("bytes", "hash")),
    "supplied": (("files", "obtain"), ()),
}
COMMIT = re.compile(r"[0-9a-f]{40}")
TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


def load(raw: Config) -> Config:
    """The configuration itself if it is sound, all presets and the whole catalogue, not only what the preset uses.

    Its `seeds` are then numbers: Snakemake reads the items of a list on the command line, `seeds=[1,2]`, as text.

    Raises:
        SlqError: the first fault, by its full key, with what was expected and what was found.
    """
    if isinstance(raw.get("seeds"), list):
        raw["seeds"] = [int(seed) if str(seed).isdecimal() else seed for seed in raw["seeds"]]
    check_schema(raw, read_yaml(SCHEMA), "config")
    _one_of("preset", raw["preset"], raw["presets"], "presets")
    for name, backbone in raw["backbones"].items():
        _check_weights(f"backbones.{name}", backbone, raw["sets"], raw["sources"])
        _check_adapter(f"backbones.{name}.family", backbone["family"], "families")
    for name, entry in raw["encoders"].items():
        _check_weights(f"encoders.{name}", entry, raw["sets"], raw["sources"])
        if "pretrain" in entry:
            model_type = entry["pretrain"]["model"]["model_type"]
            _check_adapter(f"encoders.{name}.pretrain.model.model_type", model_type, "duals")
    for name, entry in raw["comparators"].items():
        check_comparator(f"comparators.{name}", entry, raw)
    for name, entry in raw["sources"].items():
        _check_parts(f"sources.{name}", entry["parts"])
    for name, entry in raw["sets"].items():
        _exactly_one(f"sets.{name}", entry, ("drawn", "source", "supplied", "queries"))
        _check_source(f"sets.{name}", entry, raw["sources"])
        check_reading(f"sets.{name}", entry)
        check_scored(f"sets.{name}", entry)
        _check_images(f"sets.{name}", entry)
        if "drawn" in entry:
            _exactly_one(f"sets.{name}.drawn", entry["drawn"], DRAWN)
        check_images_of(f"sets.{name}", entry, raw["sets"])
    check_scenes(raw["sets"])
    for name, preset in raw["presets"].items():
        _check_preset(f"presets.{name}", preset, raw)
    check_fit(raw["backbones"], raw["presets"])
    return raw


def chosen(config: Config) -> Config:
    """The settings of the preset that runs."""
    preset: Config = config["presets"][config["preset"]]
    return preset


def seeds(config: Config) -> list[int]:
    """The seeds of the trained methods' runs; one `seed` stands in place of the list."""
    return [int(seed) for seed in ([config["seed"]] if "seed" in config else config["seeds"])]


def splits(entry: Config) -> tuple[str, ...]:
    """The splits that a set may have; one that does not say is taken to have all of them until it is looked at."""
    if is_derived(entry):
        return SPLIT
    if "drawn" in entry:
        return tuple(split for split in SPLITS if split in entry["drawn"][drawn_of(entry)])
    return tuple(split for split in SPLITS if split in entry.get("splits", SPLITS))


def tested_sets(preset: Mapping[str, Any]) -> list[str]:
    """The sets on whose test splits the preset's runs are evaluated."""
    return [*preset["retrieval_sets"], *preset["knowledge_sets"], *preset["retention_sets"]]


# ---- what the schema says --------------------------------------------------------------------------------------------


def check_schema(raw: Any, schema: Config, what: str) -> None:
    """Compare what a YAML file says with a closed schema.

    Raises:
        SlqError: the first fault, by its key; `what` names the file.
    """
    # A misspelt key also leaves the right one missing: the misspelling is the message that helps.
    found = Draft202012Validator(schema).iter_errors(raw)
    errors = sorted(found, key=lambda error: error.validator != "additionalProperties")
    if errors:
        raise SlqError(f"{what}: {_message(errors[0])}")


def _message(error: ValidationError) -> str:
    """One sentence for a violation of the schema."""
    key = _key(error.absolute_path)
    limit: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            unknown = next(name for name in error.instance if name not in known)
            return f"{_key([*error.absolute_path, unknown])} is not a key here; {_hint(unknown, known, 'keys')}"
        case "required":
            missing = next(name for name in limit if name not in error.instance)
            return f"{_key([*error.absolute_path, missing])} is missing"
        case "enum":
            return f"{key} is {_found(error.instance)}; {_hint(error.instance, limit, 'expected')}"
        case "type":
            return f"{key} is {_found(error.instance)}; expected {TYPES[limit]}{_exponent(error.instance, limit)}"
        case "uniqueItems":
            return f"{key} names something twice"
        case "minItems" | "minLength" | "minProperties":
            return f"{key} is too short; expected at least {limit}"
    expected = {
        "minimum": f"at least {limit}",
        "exclusiveMinimum": f"more than {limit}",
        "exclusiveMaximum": f"less than {limit}",
        "pattern": f"something like {limit}",
    }.get(str(error.validator), error.schema.get("description", error.message))
    return f"{key} is {_found(error.instance)}; expected {expected}"


def _key(path: Collection[str | int]) -> str:
    """`presets.mini.methods[1]`, or `the file` for the whole of it."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return "".join(parts).removeprefix(".") or "the file"


def _found(value: Any) -> str:
    """A value as a person wrote it; containers by their kind."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return TYPES["object" if isinstance(value, dict) else "array"]
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _exponent(value: Any, expected: str) -> str:
    """YAML 1.1 wants a dot in a number with an exponent."""
    if expected not in ("number", "integer") or not isinstance(value, str):
        return ""
    try:
        return f" (YAML reads {value} as text; write {float(value)!r} with a dot, e.g. 1.0e-5)"
    except ValueError:
        return ""


def _hint(name: Any, known: Collection[Any], title: str) -> str:
    """The nearest known name, else all of them."""
    near = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return f"did you mean '{near[0]}'?" if near else f"{title}: {', '.join(str(one) for one in known)}"


# ---- what one key demands of another ---------------------------------------------------------------------------------


def _one_of(key: str, name: str, known: Collection[str], where: str) -> None:
    if name not in known:
        raise SlqError(f"config: {key} is '{name}', which is not under {where}; {_hint(name, known, 'there are')}")


def _exactly_one(key: str, entry: Config, sources: tuple[str, ...]) -> None:
    given = [source for source in sources if source in entry]
    if len(given) != 1:
        found = " and ".join(given) or "none of them"
        raise SlqError(f"config: {key} must have exactly one of {', '.join(sources)}; found {found}")


def _check_source(key: str, entry: Config, sources: Config) -> None:
    """What is fetched stands in the table of sources."""
    if "source" in entry:
        _one_of(f"{key}.source", entry["source"], sources, "sources")


def _check_parts(key: str, parts: list[Config]) -> None:
    """A part comes from one place, and is described by what such a place has."""
    for place, part in enumerate(parts):
        where = f"{key}.parts[{place}]"
        _exactly_one(where, part, tuple(PARTS))
        (kind,) = (kind for kind in PARTS if kind in part)
        needed, allowed = PARTS[kind]
        if absent := [name for name in needed if name not in part]:
            raise SlqError(f"config: {where}.{absent[0]} is missing; a part with '{kind}' needs it")
        if foreign := sorted(set(part) - {kind, "gb", "count", *needed, *allowed}):
            raise SlqError(f"config: {where}.{foreign[0]} says nothing about a part with '{kind}'; take it out")
        if "from_listing" in part and not COMMIT.fullmatch(part["revision"]):
            raise SlqError(
                f"config: {where}.from_listing is of a commit, and revision '{part['revision']}'; take it out"
            )


def _check_weights(key: str, entry: Config, sets: Config, sources: Config) -> None:
    """One source of weights, which holds some if it is here; scenes for what is made here."""
    _exactly_one(key, entry, ("pretrain", "source", "local"))
    _check_source(key, entry, sources)
    folder = Path(entry.get("local", ""))
    if "local" in entry and folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise SlqError(f"config: {key}.local is '{folder}', a folder without weights; expected *.safetensors in it")
    if "pretrain" in entry:
        name = entry["pretrain"]["set"]
        _check_set(f"{key}.pretrain.set", name, sets, "retrieval", ("train",))
        if "scenes" not in sets[name].get("drawn", {}):
            raise SlqError(f"config: {key}.pretrain.set is '{name}'; expected a drawn set, whose scenes are known")


def _check_adapter(key: str, name: str, kind: str) -> None:
    """There is a module of the kind, `families` or `duals`."""
    known = [path.stem for path in sorted((PACKAGE / "models" / kind).glob("[!_]*.py"))]
    _one_of(key, name, known, f"workflow/slq/models/{kind}")


def _check_set(key: str, name: str, sets: Config, kind: str, needed: tuple[str, ...]) -> None:
    _one_of(key, name, sets, "sets")
    entry = sets[name]
    if entry["kind"] != kind:
        raise SlqError(f"config: {key} is '{name}', a {entry['kind']} set; expected a {kind} set")
    for split in needed:
        if split not in splits(entry):
            raise SlqError(f"config: {key} is '{name}', which has no split '{split}' (sets.{name})")


def _check_images(key: str, entry: Config) -> None:
    """What is said of images is said of a retrieval set; one of its variants is printed; drawn folds come out even."""
    for name in ("variants", "printed", "same_image"):
        if name in entry and entry["kind"] != "retrieval":
            raise SlqError(f"config: {key}.{name} is of images with captions, and {key}.kind {entry['kind']}")
    if ("variants" in entry) != ("printed" in entry):
        missing = "printed" if "variants" in entry else "variants"
        raise SlqError(f"config: {key}.{missing} is missing; variants and the one that is printed go together")
    if "variants" in entry:
        _one_of(f"{key}.printed", entry["printed"], entry["variants"], f"{key}.variants")
    for name, variant in entry.get("variants", {}).items():
        images = entry.get("drawn", {}).get("scenes", {}).get("test", 0)
        if images % variant.get("fold", 1):
            raise SlqError(
                f"config: {key}.variants.{name}.fold is {variant['fold']}, which does not divide the {images} images "
                f"of {key}.drawn.scenes.test"
            )


def _check_preset(key: str, preset: Config, config: Config) -> None:
    """Everything that the preset names exists, is of the right kind and has the splits that will be read."""
    for place, name in _enumerated(f"{key}.backbones", preset["backbones"]):
        _one_of(place, name, config["backbones"], "backbones")
    for place, name in _enumerated(f"{key}.instruments", preset["instruments"]):
        _one_of(place, name, config["encoders"], "encoders")
    for method in preset["methods"]:
        if method != "base" and method not in preset["tuning"]:
            raise SlqError(f"config: {key}.tuning.{method} is missing; {key}.methods asks for {method}")
    check_prefixes(key, preset, config["backbones"])
    check_stops(key, preset, config["backbones"])
    check_rows(key, preset, config)
    check_groups(key, preset)
    check_pilot(f"{key}.pilot", preset, config)
    _check_set(f"{key}.train_set", preset["train_set"], config["sets"], "retrieval", ("train", "val"))
    for group, kind in (("retrieval", "retrieval"), ("knowledge", "retrieval"), ("retention", "retention")):
        for place, name in _enumerated(f"{key}.{group}_sets", preset[f"{group}_sets"]):
            _check_set(place, name, config["sets"], kind, ("test",))
    check_standing(key, preset, config)


def _enumerated(key: str, names: list[str]) -> Iterator[tuple[str, str]]:
    return ((f"{key}[{number}]", name) for number, name in enumerate(names))
