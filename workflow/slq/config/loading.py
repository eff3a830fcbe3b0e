"""Loading and validation of the configuration, before any job runs; only the first error is reported.

The schema (workflow/schemas/config.schema.yaml) checks single values. The checks in this module involve several
entries, the disk or arithmetic. This module is imported whenever Snakemake reads the Snakefile, also in every cluster
job, so its imports must be fast.
"""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from slq.baselines.registry import find_baselines
from slq.common.errors import SlqError
from slq.config.method_schema import fill_baseline_schema, fill_method_schema
from slq.config.runs import merge_training_resources, merge_training_settings, method_entry
from slq.config.values import expand_paths, reject_unusable_values
from slq.config.yaml_files import SCHEMA_FOLDER, check_schema, read_yaml, suggest_name
from slq.methods.registry import BASE, list_methods

Config = dict[str, Any]

SCHEMA_FILE = SCHEMA_FOLDER / "config.schema.yaml"
SPLITS = ("train", "val", "test")
DERIVED_SPLITS = ("test",)  # a derived dataset has no other split, because it is never used for training
# Number of distinct synthetic images. A scene is an ordered pair of 36 different objects, in one of two directions. Of
# the signs, there are 72 of each of the three kinds that pre-training does not use.
SYNTHETIC_CAPACITY = {"scenes": 36 * 35 * 2, "signs": 3 * 72}


def validate_config(raw: Config) -> Config:
    """Validate the whole configuration, including presets and catalogues that are not in use, and return it.

    The configuration is changed in place: presets are merged with the presets that they extend, paths are expanded, and
    `seeds` are converted to integers, because Snakemake reads the items of `seeds=[1,2]` on the command line as text.
    """
    reject_unusable_values(raw, "config")
    if isinstance(raw.get("seeds"), list):
        raw["seeds"] = [int(seed) if re.fullmatch(r"\d{1,15}", str(seed)) else seed for seed in raw["seeds"]]
    extend_presets(raw)
    check_schema(raw, fill_baseline_schema(fill_method_schema(read_yaml(SCHEMA_FILE), raw)), "config")
    expand_paths(raw)
    if (raw["code"], raw["cells"]) == ("pinned", "present"):
        raise SlqError(
            "config: code is 'pinned' and cells is 'present', which exclude each other: with pinned code, the jobs "
            "that make results detect results of other code, but with present cells these jobs do not run; remove one "
            "of the two keys"
        )
    for catalogue in ("backbones", "encoders"):
        for name, entry in raw[catalogue].items():
            _check_weights(f"{catalogue}.{name}", entry, raw["datasets"])
    for name, entry in raw["datasets"].items():
        _check_dataset_entry(f"datasets.{name}", entry, raw["datasets"])
    _check_synthetic_capacity(raw["datasets"])
    trained = [name for name in list_methods() if name != BASE]
    for key in ("proposed_method", "cost_baseline"):
        if raw[key] not in trained:
            raise SlqError(f"config: {key} is '{raw[key]}'; {suggest_name(raw[key], trained, 'trained methods')}")
    for name, preset in raw["presets"].items():
        _check_preset(f"presets.{name}", preset, raw)
    return raw


def load_merged_config(files: Sequence[Path], preset: str | None = None) -> Config:
    """Load configuration files, merge them as Snakemake does, and validate the result.

    Args:
        files: the configuration file and its overrides; later files override earlier ones.
        preset: preset to activate; None keeps the preset of the configuration.
    """
    config: Config = {}
    for file in files:
        _merge_into(read_config_file(file), config)
    if preset is None:
        return validate_config(config)
    if preset not in validate_config(config)["presets"]:
        raise SlqError(f"--preset {preset}: no such preset; expected one of {', '.join(config['presets'])}")
    return config | {"preset": preset}


def read_config_file(file: Path) -> Config:
    """Read a configuration file or an override of it; reject values that no key can have."""
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise SlqError(f"{file}: expected keys of config.yaml with values")
    reject_unusable_values(content, str(file))
    return content


def _merge_into(overlay: Config, base: Config) -> None:
    """Merge `overlay` into `base`: mappings are merged, other values are replaced."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge_into(value, base[key])
        else:
            base[key] = value


def extend_presets(raw: Config) -> None:
    """Merge each preset that has `extends: NAME` into a copy of the preset NAME, in place.

    Raises:
        SlqError: the preset NAME does not exist, or presets extend each other in a circle.
    """
    presets = raw.get("presets")
    if isinstance(presets, dict):
        for name in presets:
            presets[name] = _extended_preset(presets, name, [])


def _extended_preset(presets: Config, name: str, extending: list[str]) -> Any:
    """Return a preset merged with the preset that it extends, if any.

    `extending` lists the presets that extend this preset, directly or not; it is used to detect circles.
    """
    preset = presets[name]
    if not isinstance(preset, dict) or "extends" not in preset:
        return preset
    parent, where = preset["extends"], f"config: presets.{name}.extends is '{preset['extends']}'"
    if not isinstance(parent, str) or parent not in presets:
        raise SlqError(f"{where}; {suggest_name(str(parent), presets, 'expected one of')}")
    if parent in [*extending, name]:
        raise SlqError(f"{where}, which extends {name} itself; remove one `extends` and write out its settings")
    merged = deepcopy(_extended_preset(presets, parent, [*extending, name]))
    if not isinstance(merged, dict):
        raise SlqError(f"config: presets.{parent} is {merged!r}, and {name} extends it; expected the keys of a preset")
    _merge_into({key: value for key, value in preset.items() if key != "extends"}, merged)
    return merged


def active_preset(config: Config) -> Config:
    """Return the settings of the active preset."""
    preset: Config = config["presets"][config["preset"]]
    return preset


def seeds(config: Config) -> list[int]:
    """List the seeds of the runs of trained methods.

    The key `seed` overrides the `seeds` of the active preset, which override the list `seeds` of all presets.
    """
    listed = active_preset(config).get("seeds") or config["seeds"]
    return [int(seed) for seed in ([config["seed"]] if "seed" in config else listed)]


def prefer_given_seeds(config: Config, given: Mapping[str, Any]) -> None:
    """Let `seeds` on the command line override those of the active preset, in place.

    Snakemake has merged the list into the key of all presets, which a preset's own `seeds` would otherwise override.

    Args:
        given: the keys of `--config`.
    """
    if "seeds" in given:
        active_preset(config).pop("seeds", None)


def evaluation_datasets(preset: Mapping[str, Any]) -> list[str]:
    """List the datasets whose test splits are used to evaluate the preset's runs."""
    return [*preset["retrieval_datasets"], *preset["knowledge_datasets"], *preset["retention_datasets"]]


# ---- properties of a dataset -----------------------------------------------------------------------------------------


def split_names(entry: Config) -> tuple[str, ...]:
    """List the splits that a dataset may have; all splits if its entry names none."""
    if is_derived(entry):
        return DERIVED_SPLITS
    available = entry["synthetic"][synthetic_kind(entry)] if "synthetic" in entry else entry.get("splits", SPLITS)
    return tuple(split for split in SPLITS if split in available)


def is_derived(entry: Config) -> bool:
    """Return whether a dataset is derived, that is, has other captions or queries for another dataset's images."""
    return "queries" in entry or "scenes_of" in entry.get("synthetic", {})


def parent_dataset(entry: Config) -> str:
    """Return the name of the dataset that has a derived dataset's images."""
    name: str = entry["images_of"] if "queries" in entry else entry["synthetic"]["scenes_of"]
    return name


def synthetic_kind(entry: Config) -> str:
    """Return the kind of a synthetic dataset's images: scenes, signs, or another dataset's scenes (`scenes_of`)."""
    return next(kind for kind in (*SYNTHETIC_CAPACITY, "scenes_of") if kind in entry["synthetic"])


# ---- consistency between entries -------------------------------------------------------------------------------------


def _check_weights(key: str, entry: Config, datasets: Config) -> None:
    """Check that an existing local folder has weights, and that pre-training uses a dataset of synthetic scenes."""
    folder = Path(entry.get("local_dir", ""))
    if "local_dir" in entry and folder.is_dir() and not any(folder.glob("*.safetensors")):
        raise SlqError(f"config: {key}.local_dir is '{folder}', a folder without weights; expected *.safetensors there")
    if "pretrain" in entry:
        name = entry["pretrain"]["dataset"]
        _check_named_dataset(f"{key}.pretrain.dataset", name, datasets, "retrieval", ("train",))
        if "scenes" not in datasets[name].get("synthetic", {}):
            raise SlqError(f"config: {key}.pretrain.dataset is '{name}'; expected a synthetic dataset of scenes")


def _check_dataset_entry(key: str, entry: Config, datasets: Config) -> None:
    """Check a dataset's table variant, the size of synthetic folds, and the parent of a derived dataset.

    The variant in tables must exist, the fold size must divide the number of synthetic images, and the parent must be a
    retrieval dataset that is not itself derived.
    """
    variants = entry.get("variants", {})
    if variants and entry["table_variant"] not in variants:
        fault = f"{key}.table_variant is '{entry['table_variant']}', which is not under {key}.variants"
        raise SlqError(f"config: {fault}; {suggest_name(entry['table_variant'], variants, 'expected one of')}")
    images = entry.get("synthetic", {}).get("scenes", {}).get("test", 0)
    for name, variant in variants.items():
        if images % variant.get("fold", 1):
            raise SlqError(
                f"config: {key}.variants.{name}.fold is {variant['fold']}, which does not divide the {images} images "
                f"of {key}.synthetic.scenes.test"
            )
    if not is_derived(entry):
        return
    fault = f"{key}.{'images_of' if 'queries' in entry else 'synthetic.scenes_of'} is '{parent_dataset(entry)}'"
    parent = datasets.get(parent_dataset(entry))
    if parent is None or is_derived(parent) or parent["kind"] != "retrieval":
        raise SlqError(f"config: {fault}; expected a retrieval dataset with its own images")
    if "synthetic" in entry and "test" not in parent.get("synthetic", {}).get("scenes", {}):
        raise SlqError(f"config: {fault}; expected a synthetic dataset with a test split")


def _check_synthetic_capacity(datasets: Config) -> None:
    """Check that there are enough scenes and signs for all synthetic splits, which are disjoint slices of them."""
    for kind, capacity in SYNTHETIC_CAPACITY.items():
        requested = sum(sum(entry.get("synthetic", {}).get(kind, {}).values()) for entry in datasets.values())
        if requested > capacity:
            raise SlqError(
                f"config: the synthetic datasets request {requested} {kind} (datasets.*.synthetic.{kind}); expected at "
                f"most {capacity}"
            )


def _check_named_dataset(key: str, name: str, datasets: Config, kind: str, required_splits: Sequence[str]) -> None:
    """Check that the dataset named by a key has the right kind and the required splits."""
    entry = datasets[name]
    if entry["kind"] != kind:
        raise SlqError(f"config: {key} is '{name}', a {entry['kind']} dataset; expected a {kind} dataset")
    for split in required_splits:
        if split not in split_names(entry):
            raise SlqError(f"config: {key} is '{name}', which has no split '{split}' (datasets.{name})")


def _check_preset(key: str, preset: Config, config: Config) -> None:
    """Check that the entries of a preset are consistent with each other and with the entries that they name."""
    for method, entry in preset["hyperparameters"].items():
        if "of" in entry and entry["of"] not in preset["hyperparameters"]:
            raise SlqError(f"config: {key}.hyperparameters.{entry['of']} is missing; its variant {method} needs it")
    for method in preset["methods"]:
        if method != BASE and method not in preset["hyperparameters"]:
            raise SlqError(f"config: {key}.hyperparameters.{method} is missing; {key}.methods lists {method}")
        for name in preset["backbones"] if method != BASE else ():
            _check_run(key, preset, config["backbones"][name], name, method)
    frontier = preset["frontier"]
    for index, name in enumerate(frontier["interpolated"]):
        if not method_entry(preset, name).method.is_interpolable:
            raise SlqError(
                f"config: {key}.frontier.interpolated[{index}] is '{name}', which cannot be interpolated with base: "
                "the method has no `interpolate` (docs/methods.md)"
            )
    of_preset = config | {"preset": key.removeprefix("presets.")}
    for baseline_kind, entry in find_baselines(of_preset).values():
        baseline_kind.describe(of_preset, entry)
    if duplicates := [name for name in preset["knowledge_datasets"] if name in preset["retrieval_datasets"]]:
        # A dataset is shown either in the tables or in the figure by scale, because its files are made only once.
        raise SlqError(
            f"config: {key}.knowledge_datasets and {key}.retrieval_datasets both list '{duplicates[0]}'; remove one"
        )
    datasets = config["datasets"]
    if "dataset" in preset.get("pilot", {}):
        _check_named_dataset(f"{key}.pilot.dataset", preset["pilot"]["dataset"], datasets, "retrieval", ())
    _check_named_dataset(f"{key}.train_dataset", preset["train_dataset"], datasets, "retrieval", ("train", "val"))
    for group, group_kind in (("retrieval", "retrieval"), ("knowledge", "retrieval"), ("retention", "retention")):
        for index, name in enumerate(preset[f"{group}_datasets"]):
            _check_named_dataset(f"{key}.{group}_datasets[{index}]", name, datasets, group_kind, ("test",))
    for index, name in enumerate(preset["retention_datasets"]):
        _check_scorer(f"{key}.evaluation.scorers", f"{key}.retention_datasets[{index}]", name, preset, datasets[name])
    _check_unique_paper_names(key, preset["backbones"], config["backbones"], "backbones", "paper_row")
    _check_unique_paper_names(key, evaluation_datasets(preset), datasets, "datasets", "paper_column")


def _check_run(key: str, preset: Config, backbone: Config, name: str, method: str) -> None:
    """Check that a run's image cache stays valid during training, and that its time limit exceeds the margin.

    A cache of the whole prefix (`batch`, `kv`) stays valid only if the method trains no parameter that acts before the
    queries. The mode `batch` is useless if an epoch shows each image only once.
    """
    training, hours = (
        merge_training_settings(preset, backbone, method),
        merge_training_resources(preset, backbone, method)["hours"],
    )
    where = f"config: {key}: training.image_cache is '{training['image_cache']}' for {method} on {name}"
    possible = method_entry(preset, method).method.image_caches
    if training["image_cache"] not in possible:
        caches = {one: method_entry(preset, one).method.image_caches for one in preset["methods"]}
        readers = [one for one in caches if training["image_cache"] in caches[one]]
        advice = "".join(f" (for {one} only: backbones.{name}.runs.{one}.training.image_cache)" for one in readers[:1])
        raise SlqError(
            f"{where}, which trains parameters that this cache depends on; expected {' or '.join(possible)}{advice}"
        )
    if training["image_cache"] == "batch" and training["caption_sampling"] == "random_one":
        raise SlqError(f"{where}; with caption_sampling random_one, an epoch shows each image only once")
    if 60 * hours <= training["time_limit_margin_minutes"]:
        raise SlqError(
            f"config: {key}: resources.train.hours is {hours:.3g}, {60 * hours:.3g} minutes, for {method} on {name}, "
            f"but training stops {training['time_limit_margin_minutes']:g} minutes "
            "(training.time_limit_margin_minutes) before that limit, which leaves no time for a step; request more "
            "hours, or lower time_limit_margin_minutes"
        )


def _check_scorer(key: str, dataset_key: str, name: str, preset: Config, entry: Config) -> None:
    """Check that a retention dataset has a scorer; a dataset in a column of the paper needs that benchmark's scorer."""
    scorers, benchmark, paper_column = preset["evaluation"]["scorers"], entry["scored_as"], entry.get("paper_column")
    if benchmark not in scorers:
        raise SlqError(f"config: {key}.{benchmark} is missing; {dataset_key} is '{name}', which needs this scorer")
    if paper_column in scorers and paper_column != benchmark:
        raise SlqError(
            f"config: datasets.{name}.scored_as is '{benchmark}', but its paper_column is '{paper_column}': a dataset "
            "in a column of the paper must be scored as that benchmark; remove paper_column if the dataset is your own"
        )


def _check_unique_paper_names(key: str, names: Sequence[str], catalogue: Config, kind: str, entry_key: str) -> None:
    """Check that no two entries of a preset name the same row or column of the paper (`entry_key`)."""
    name_by_paper_name: dict[str, str] = {}
    for name in names:
        paper_name = catalogue[name].get(entry_key)
        if paper_name and name_by_paper_name.setdefault(paper_name, name) != name:
            raise SlqError(
                f"config: {key} has two {kind} with the {entry_key} '{paper_name}', {name_by_paper_name[paper_name]} "
                f"and {name}; remove {kind}.{name}.{entry_key}, or that of the other entry if {name} is shown there"
            )
