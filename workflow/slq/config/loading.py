"""The configuration: checked once, before anything runs, with one message for the first fault.

The schema says what it can (workflow/schemas/config.schema.yaml); here is what needs two entries, the disk or
arithmetic.
Snakemake imports this module whenever it reads the Snakefile, in every cluster job too: nothing heavy may enter here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError, UnknownMethodError
from slq.config.baselines import METHODS
from slq.config.runs import merge_training_resources, merge_training_settings
from slq.config.yaml_files import SCHEMA_FOLDER, check_schema, read_yaml, suggest_name

Config = dict[str, Any]

SCHEMA = SCHEMA_FOLDER / "config.schema.yaml"
SPLITS = ("train", "val", "test")
DERIVED_SPLITS = ("test",)  # the only one of a set over another's images: nothing is trained on it
# How much the drawn world holds: ordered pairs of its 36 different things, in two directions; 72 signs of each of the
# three kinds that pre-training does not see.
SYNTHETIC_CAPACITY = {"scenes": 36 * 35 * 2, "signs": 3 * 72}


def validate_config(raw: Config) -> Config:
    """Check the configuration and return it, all presets and the whole catalogue, not only what the preset uses.

    Its `seeds` are then numbers: Snakemake reads the items of a list on the command line, `seeds=[1,2]`, as text.

    Raises:
        SlqError: the first fault, by its full key, with what was expected and what was found.
    """
    if isinstance(raw.get("seeds"), list):
        raw["seeds"] = [int(seed) if str(seed).isdecimal() else seed for seed in raw["seeds"]]
    check_schema(raw, read_yaml(SCHEMA), "config")
    for catalogue in ("backbones", "encoders"):
        for name, entry in raw[catalogue].items():
            _check_weights(f"{catalogue}.{name}", entry, raw["sets"])
    for name, entry in raw["sets"].items():
        _check_dataset_entry(f"sets.{name}", entry, raw["sets"])
    _check_synthetic_capacity(raw["sets"])
    for name, preset in raw["presets"].items():
        _check_preset(f"presets.{name}", preset, raw)
    return raw


def active_preset(config: Config) -> Config:
    """Return the settings of the preset that runs."""
    preset: Config = config["presets"][config["preset"]]
    return preset


def seeds(config: Config) -> list[int]:
    """List the seeds of the trained methods' runs; one `seed` stands in place of the list."""
    return [int(seed) for seed in ([config["seed"]] if "seed" in config else config["seeds"])]


def evaluation_datasets(preset: Mapping[str, Any]) -> list[str]:
    """List the sets on whose test splits the preset's runs are evaluated."""
    return [*preset["retrieval_sets"], *preset["knowledge_sets"], *preset["retention_sets"]]


# ---- what a set shows ------------------------------------------------------------------------------------------------


def split_names(entry: Config) -> tuple[str, ...]:
    """Name the splits that a set may have; one that does not say is taken to have all of them until it is looked at."""
    if is_derived(entry):
        return DERIVED_SPLITS
    available = entry["drawn"][synthetic_kind(entry)] if "drawn" in entry else entry.get("splits", SPLITS)
    return tuple(split for split in SPLITS if split in available)


def is_derived(entry: Config) -> bool:
    """Tell whether a set's images are another's, of which it says something else."""
    return "queries" in entry or "scenes_of" in entry.get("drawn", {})


def parent_dataset(entry: Config) -> str:
    """Name the set whose images a derived set has."""
    name: str = entry["of"] if "queries" in entry else entry["drawn"]["scenes_of"]
    return name


def synthetic_kind(entry: Config) -> str:
    """Name what a drawn set shows: scenes, signs, or another set's scenes (`scenes_of`)."""
    return next(kind for kind in (*SYNTHETIC_CAPACITY, "scenes_of") if kind in entry["drawn"])


# ---- what one entry demands of another -------------------------------------------------------------------------------


def _check_weights(key: str, entry: Config, datasets: Config) -> None:
    """Check that a folder of weights holds some if it is here, and that what is made here learns from scenes."""
    folder = Path(entry.get("local", ""))
    if "local" in entry and folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise SlqError(f"config: {key}.local is '{folder}', a folder without weights; expected *.safetensors in it")
    if "pretrain" in entry:
        name = entry["pretrain"]["set"]
        _check_named_dataset(f"{key}.pretrain.set", name, datasets, "retrieval", ("train",))
        if "scenes" not in datasets[name].get("drawn", {}):
            raise SlqError(f"config: {key}.pretrain.set is '{name}'; expected a drawn set, whose scenes are known")


def _check_dataset_entry(key: str, entry: Config, datasets: Config) -> None:
    """Check that a variant is printed, that drawn folds come out even, and that a derived set has a fitting origin."""
    variants = entry.get("variants", {})
    if variants and entry["printed"] not in variants:
        fault = f"{key}.printed is '{entry['printed']}', which is not under {key}.variants"
        raise SlqError(f"config: {fault}; {suggest_name(entry['printed'], variants, 'there are')}")
    images = entry.get("drawn", {}).get("scenes", {}).get("test", 0)
    for name, variant in variants.items():
        if images % variant.get("fold", 1):
            raise SlqError(
                f"config: {key}.variants.{name}.fold is {variant['fold']}, which does not divide the {images} images "
                f"of {key}.drawn.scenes.test"
            )
    if not is_derived(entry):
        return
    fault = f"{key}.{'of' if 'queries' in entry else 'drawn.scenes_of'} is '{parent_dataset(entry)}'"
    parent = datasets.get(parent_dataset(entry))
    if parent is None or is_derived(parent) or parent["kind"] != "retrieval":
        raise SlqError(f"config: {fault}; expected a retrieval set with images of its own")
    if "drawn" in entry and "test" not in parent.get("drawn", {}).get("scenes", {}):
        raise SlqError(f"config: {fault}; expected a drawn set with a test split")


def _check_synthetic_capacity(datasets: Config) -> None:
    """Check that drawn splits, disjoint slices of all scenes or signs, together hold no more than there are."""
    for kind, capacity in SYNTHETIC_CAPACITY.items():
        requested = sum(sum(entry.get("drawn", {}).get(kind, {}).values()) for entry in datasets.values())
        if requested > capacity:
            raise SlqError(
                f"config: the drawn sets ask for {requested} {kind} (sets.*.drawn.{kind}); there are {capacity}"
            )


def _check_named_dataset(key: str, name: str, datasets: Config, kind: str, required_splits: Sequence[str]) -> None:
    """Check that a set that is named is of the right kind and has the splits that will be read."""
    entry = datasets[name]
    if entry["kind"] != kind:
        raise SlqError(f"config: {key} is '{name}', a {entry['kind']} set; expected a {kind} set")
    for split in required_splits:
        if split not in split_names(entry):
            raise SlqError(f"config: {key} is '{name}', which has no split '{split}' (sets.{name})")


def _check_preset(key: str, preset: Config, config: Config) -> None:
    """Check that everything that a preset names goes together."""
    for method in preset["methods"]:
        if method != "base" and method not in preset["tuning"]:
            raise SlqError(f"config: {key}.tuning.{method} is missing; {key}.methods asks for {method}")
        if method not in METHODS:
            raise UnknownMethodError(method, "config/baselines.py", f"its name in tables ({key}.methods asks for it)")
        for name in preset["backbones"] if method != "base" else ():
            _check_run(key, preset, config["backbones"][name], name, method)
    for index, entry in enumerate(preset["rerank"]["rows"]):
        for part in ("coarse", "by"):
            # Base needs no training, and is registered wherever it is asked for.
            if entry[part] in METHODS and entry[part] not in ("base", *preset["methods"]):
                raise SlqError(
                    f"config: {key}.rerank.rows[{index}].{part} is '{entry[part]}', which {key}.methods leaves out; "
                    f"add it there, or take the row out of {key}.rerank.rows"
                )
    if duplicates := [name for name in preset["knowledge_sets"] if name in preset["retrieval_sets"]]:
        # It is in the tables or in the figure by scale: its files are made once.
        raise SlqError(
            f"config: {key}.knowledge_sets and {key}.retrieval_sets both name '{duplicates[0]}'; take one out"
        )
    datasets = config["sets"]
    if "set" in preset.get("pilot", {}):
        _check_named_dataset(f"{key}.pilot.set", preset["pilot"]["set"], datasets, "retrieval", ())
    _check_named_dataset(f"{key}.train_set", preset["train_set"], datasets, "retrieval", ("train", "val"))
    for group, kind in (("retrieval", "retrieval"), ("knowledge", "retrieval"), ("retention", "retention")):
        for index, name in enumerate(preset[f"{group}_sets"]):
            _check_named_dataset(f"{key}.{group}_sets[{index}]", name, datasets, kind, ("test",))
    for index, name in enumerate(preset["retention_sets"]):
        _check_scorer(f"{key}.evaluation.scorers", f"{key}.retention_sets[{index}]", name, preset, datasets[name])
    _check_unique_references(key, preset["backbones"], config["backbones"], "backbones")
    _check_unique_references(key, evaluation_datasets(preset), datasets, "sets")


def _check_run(key: str, preset: Config, backbone: Config, name: str, method: str) -> None:
    """Check that what is kept of images does not change in a run, and that its allocation outlasts the final margin.

    What is kept of a whole prefix is constant only where nothing in front of the queries is trained.
    """
    training, hours = (
        merge_training_settings(preset, backbone, method),
        merge_training_resources(preset, backbone, method)["hours"],
    )
    where = f"config: {key}: training.prefix is '{training['prefix']}' for {method} on {name}"
    if training["prefix"] in ("resident", "kv") and method != "slq":
        raise SlqError(
            f"{where}, which trains what is in it; expected recompute or vision "
            f"(for slq alone: backbones.{name}.runs.slq.training.prefix)"
        )
    if training["prefix"] == "resident" and training["captions_per_image_per_epoch"] == "one":
        raise SlqError(f"{where}; with captions_per_image_per_epoch one, an epoch shows no image again")
    if 60 * hours <= training["stop_minutes"]:
        raise SlqError(
            f"config: {key}: resources.train.hours is {hours:.3g}, {60 * hours:.3g} minutes, for {method} on {name}, "
            f"and training.stop_minutes, {training['stop_minutes']:g}, stay free at its end: that leaves no time for a "
            "step; ask for more hours, or lower stop_minutes"
        )


def _check_scorer(key: str, dataset_key: str, name: str, preset: Config, entry: Config) -> None:
    """Check that what a retention set is scored as has a scorer, and is what it stands for if that is the paper's."""
    scorers, benchmark, reference = preset["evaluation"]["scorers"], entry["scored_as"], entry.get("reference")
    if benchmark not in scorers:
        raise SlqError(f"config: {key}.{benchmark} is missing; {dataset_key} is '{name}', which is scored as it")
    if reference in scorers and reference != benchmark:
        raise SlqError(
            f"config: sets.{name}.scored_as is '{benchmark}', and its reference '{reference}': what stands for a "
            "benchmark of the paper is scored as it; take reference out if the set is your own"
        )


def _check_unique_references(key: str, names: Sequence[str], catalogue: Config, kind: str) -> None:
    """Check that no two of a preset stand for the same row or column of the paper, their `reference`."""
    name_by_reference: dict[str, str] = {}
    for name in names:
        reference = catalogue[name].get("reference")
        if reference and name_by_reference.setdefault(reference, name) != name:
            raise SlqError(
                f"config: {key} has two {kind} with the reference '{reference}', {name_by_reference[reference]} and "
                f"{name}; take {kind}.{name}.reference out unless {name} alone is to stand for it"
            )
