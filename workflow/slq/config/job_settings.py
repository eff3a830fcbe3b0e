"""Settings of each rule's jobs, selected from the configuration.

Snakemake re-runs a job if its settings change, and ignores the rest of the configuration. The settings of a rule must
therefore contain everything that can change its result.

This module is imported whenever the Snakefile is read, so its imports must be fast.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from slq.baselines.registry import find_baselines
from slq.config.baselines import Baseline
from slq.config.loading import Config, active_preset, is_derived, parent_dataset, seeds, split_names, synthetic_kind
from slq.config.runs import (
    DISK_CACHE_MODES,
    list_controls,
    list_run_seeds,
    list_table_methods,
    merge_training_settings,
    method_entry,
    of_method,
    variants,
)
from slq.methods.registry import BASE


def synthetic_split_settings(config: Config, name: str, split: str) -> Config:
    """Build the settings of a synthetic split: its slice of all scenes (or signs), and how they are drawn and worded.

    Slices are consecutive, in the order of `datasets`. A dataset with other captions for the scenes of another dataset
    has the slice of that dataset.
    """
    datasets = config["datasets"]
    words = datasets[name]["synthetic"].get("words", "plain")
    if is_derived(datasets[name]):
        parent = synthetic_split_settings(config, parent_dataset(datasets[name]), split)
        return parent | {"dataset": name, "words": words}
    kind = synthetic_kind(datasets[name])
    same_kind = {
        other: entry for other, entry in datasets.items() if "synthetic" in entry and synthetic_kind(entry) == kind
    }
    all_splits = [(other, part) for other, entry in same_kind.items() for part in split_names(entry)]
    earlier_splits = all_splits[: all_splits.index((name, split))]
    entry = datasets[name]
    return {
        "dataset": name,
        "split": split,
        "hub_layout": entry.get("hub_layout"),
        "style": entry["synthetic"]["style"],
        "first": sum(same_kind[other]["synthetic"][kind][part] for other, part in earlier_splits),
        "count": entry["synthetic"][kind][split],
        "words": words,
        "families": split in entry["synthetic"].get("families", []),
        "seed": config["synthetic"]["seed"],
    }


def local_split_arguments(config: Config, name: str, split: str) -> Config:
    """Build the arguments of `slq.datasets.local.import_local_split`.

    `hub_layout` and `same_image` are empty if the dataset's entry lacks them.
    """
    entry = config["datasets"][name]
    optional = {key: entry.get(key, "") for key in ("hub_layout", "same_image")}
    return {"name": name, "split_name": split, "kind": entry["kind"], **optional}


def prepare_settings(config: Config, name: str, split: str, hash_id_lists: Callable[[Config], Any]) -> Config:
    """Build the settings for preparing a split from a fetched source: its annotation files and expected counts.

    Args:
        config: the validated configuration.
        name: name of the dataset.
        split: name of the split.
        hash_id_lists: function that returns the hashes of the files in `include_ids` and `exclude_ids`
            (`slq.sources.file_hashes`).
    """
    entry = config["datasets"][name]
    split_entry = entry.get("splits", {}).get(split, {})
    if "hub_layout" in entry:
        return {"dataset": name, "split": split, "hub_layout": entry["hub_layout"], "listing": split_entry}
    filtered = "include_ids" in split_entry or "exclude_ids" in split_entry
    listing_files = {other["file"] for other in entry["splits"].values()} | {*entry.get("flickr_id_files", [])}
    return dict(
        dataset=name,
        split=split,
        annotation_format=entry["annotation_format"],
        listing=split_entry,
        **({"listing_files": sorted(listing_files), "id_list_hashes": hash_id_lists(split_entry)} if filtered else {}),
        id_namespace=entry.get("id_namespace"),
        flickr_id_files=entry.get("flickr_id_files", []),
        allow_leak=split == "train" and active_preset(config)["allow_leak"],
    )


def query_dataset_settings(config: Config, name: str) -> Config:
    """Build the settings of a dataset of user-written queries: its name, and the dataset that has the images."""
    return {"dataset": name, "images_of": parent_dataset(config["datasets"][name])}


def used_members(
    config: Config, backbones: Sequence[str] = (), encoders: Sequence[str] = (), methods: Sequence[str] = ()
) -> dict[str, list[str] | None]:
    """Return the registry members that a job uses, as keyword arguments of `slq.common.fingerprint.fingerprint`.

    A variant uses the member of its method. The type of an encoder that is not pre-trained here is in its config.json,
    which may not be fetched yet. In that case `dual_encoders` is None, which stands for all types.
    """
    kinds = [config["encoders"][name].get("pretrain", {}).get("model", {}).get("model_type") for name in encoders]
    return {
        "families": sorted({config["backbones"][name]["family"] for name in backbones}),
        "dual_encoders": None if None in kinds else sorted({kind for kind in kinds if kind is not None}),
        "methods": sorted({method_entry(active_preset(config), name).method.name for name in methods}),
    }


def pretrain_settings(config: Config, backbone: str) -> Config:
    """Build the settings for pre-training a backbone."""
    entry = config["backbones"][backbone]
    return dict(backbone=backbone, family=entry["family"], seed=config["synthetic"]["seed"], **entry["pretrain"])


def pretrain_encoder_settings(config: Config, encoder: str) -> Config:
    """Build the settings for pre-training a dual encoder."""
    entry = config["encoders"][encoder]
    return dict(encoder=encoder, seed=config["synthetic"]["seed"], **entry["pretrain"])


def fetch_settings(config: Config, catalogue: str, name: str, hash_local_folder: Callable[[Config], str]) -> Config:
    """Build the settings for fetching a source, or a backbone or encoder from a source or a local folder.

    Args:
        config: the validated configuration.
        catalogue: `sources`, `backbones` or `encoders`.
        name: name of the entry in the catalogue.
        hash_local_folder: function that returns the hash of the files in a user's folder (`slq.sources.file_hashes`),
            so that changed files change the settings.
    """
    entry = config[catalogue][name]
    source = entry.get("source", name)
    source_parts = [{"local_dir": entry["local_dir"]}] if "local_dir" in entry else config["sources"][source]["parts"]
    parts = [{key: part[key] for key in part if key not in ("gb", "from_listing")} for part in source_parts]
    for part in parts:
        if "local_dir" in part and (content_hash := hash_local_folder(part)):
            part["content_hash"] = content_hash
    settings = {"name": source, "weights": catalogue != "sources", "parts": parts}
    templates = readout_templates(config, name) if catalogue == "backbones" else {}
    return settings | ({"templates": templates} if templates else {})


def readout_templates(config: Config, backbone: str) -> dict[str, str]:
    """Return the templates that read-outs use in place of the chat template on a backbone, by read-out."""
    names = [one.get("readout") for one in config["baselines"].values() if one.get("backbone") == backbone]
    readouts = {name: config["readouts"][name] for name in names if name is not None}
    return {name: readout["template"] for name, readout in readouts.items() if "template" in readout}


def reference_check_settings(config: Config) -> Config:
    """Build the settings of the reference check: public models, and the datasets on which they are evaluated."""
    preset = active_preset(config)
    return {
        "encoders": preset["reference_encoders"],
        "datasets": [
            {"name": name, "paper_column": config["datasets"][name].get("paper_column", "")}
            for name in preset["retrieval_datasets"]
        ],
        "batch_size": preset["evaluation"]["batch_size"],
    }


def audit_settings(config: Config) -> Config:
    """Build the settings of the leak audit: the datasets that must not overlap, and whether overlap is allowed."""
    preset = active_preset(config)
    keys = ("train_dataset", "retrieval_datasets", "knowledge_datasets", "retention_datasets", "allow_leak")
    return {key: preset[key] for key in keys}


def train_settings(config: Config, backbone: str, method: str) -> Config:
    """Build the settings for training a run, without its seed."""
    preset, entry = active_preset(config), config["backbones"][backbone]
    return dict(
        **_run_settings(config, backbone, method),
        training=merge_training_settings(preset, entry, method),
        hyperparameters=method_entry(preset, method).hyperparameters,
    )


def _run_settings(config: Config, backbone: str, method: str) -> Config:
    """Return the preset, backbone and method of a run, its prompt, and the settings for loading its backbone."""
    run = {"preset": config["preset"], "backbone": backbone} | method_entry(active_preset(config), method).settings
    return run | backbone_loading_settings(config, backbone) | {"prompt": active_preset(config)["prompt"]}


def backbone_loading_settings(config: Config, backbone: str) -> Config:
    """Return the settings for loading a backbone: its model family, and the dtype."""
    return {"family": config["backbones"][backbone]["family"], "dtype": active_preset(config)["dtype"]}


def stored_image_cache(config: Config, backbone: str, method: str) -> str | None:
    """Return which cache of images a job must build before training: features or kv; None for no such job."""
    training = merge_training_settings(active_preset(config), config["backbones"][backbone], method)
    image_cache: str = training["image_cache"]
    return image_cache if image_cache in DISK_CACHE_MODES else None


def feature_cache_settings(config: Config, backbone: str, method: str) -> Config:
    """Build the settings of the job that caches image features, or keys and values, without hyperparameters."""
    preset, entry = active_preset(config), config["backbones"][backbone]
    training = merge_training_settings(preset, entry, method)
    return dict(
        **_run_settings(config, backbone, method),
        batch_size=preset["evaluation"]["batch_size"],
        **{key: training[key] for key in ("attention", "num_workers", "image_cache")},
    )


def lr_sweep_settings(config: Config, method: str) -> Config:
    """Build the settings for choosing a learning rate: the number of trials, and how far the grid may be extended."""
    sweep = active_preset(config)["lr_sweep"]
    return {"method": method, **{key: sweep[key] for key in ("rates", "factor", "extensions")}}


def frontier_settings(config: Config) -> Config:
    """Build the settings of the frontier: the layout, and per method its name, rate and fractions of interpolation.

    Its methods are those of `frontier.methods` that the preset runs.
    """
    preset = active_preset(config)
    frontier, methods = preset["frontier"], []
    for name in (one for one in frontier["methods"] if one in preset["methods"]):
        rate = method_entry(preset, name).hyperparameters["learning_rate"]
        fractions = frontier["fractions"] if name in frontier["interpolated"] else []
        methods.append({"name": name, "learning_rate": rate, "fractions": fractions})
    return layout(config) | {
        "methods": [BASE, *(method["name"] for method in methods)],
        "points": methods,
        "tolerance": frontier["tolerance"],
    }


def retrieval_settings(config: Config, backbone: str) -> Config:
    """Build the settings for evaluating a run on the retrieval datasets, including the knowledge datasets."""
    preset = active_preset(config)
    return dict(
        **backbone_loading_settings(config, backbone),
        prompt=preset["prompt"],
        batch_size=preset["evaluation"]["batch_size"],
        datasets=datasets_with_variants(config, preset["knowledge_datasets"]),
    )


def datasets_with_variants(config: Config, extra_datasets: Sequence[str] = ()) -> list[Config]:
    """List the retrieval datasets and `extra_datasets`, each with its evaluation variants and its variant in tables."""
    datasets = []
    for name in (*active_preset(config)["retrieval_datasets"], *extra_datasets):
        entry = config["datasets"][name]
        variants = [
            {"name": one, **variant_settings} for one, variant_settings in entry.get("variants", {"all": {}}).items()
        ]
        datasets.append({"name": name, "variants": variants, "table_variant": entry.get("table_variant", "all")})
    return datasets


def retention_settings(config: Config, backbone: str) -> Config:
    """Build the settings for evaluating a run on the retention datasets; `scored_as` selects a dataset's scorer."""
    preset, entry = active_preset(config), config["backbones"][backbone]
    benchmarks = {name: config["datasets"][name]["scored_as"] for name in preset["retention_datasets"]}
    scorers, images = preset["evaluation"]["scorers"], entry.get("retention_images", {})
    return dict(
        **backbone_loading_settings(config, backbone),
        max_new_tokens=preset["evaluation"]["max_new_tokens"],
        batch_size=preset["evaluation"]["generation_batch_size"],
        datasets=[
            {"name": name, "benchmark": one, "scorer": scorers[one], "images": images.get(one, {})}
            | {key: config["datasets"][name][key] for key in ("disputed",) if key in config["datasets"][name]}
            for name, one in benchmarks.items()
        ],
    )


def equivalence_settings(config: Config, backbone: str) -> Config:
    """Build the settings for checking that a run gives the same answers as base.

    They include the number of items of each dataset that are compared.
    """
    return {
        "retention": retention_settings(config, backbone),
        "equivalence_items": active_preset(config)["evaluation"]["equivalence_items"],
    }


def layout(config: Config) -> Config:
    """Build the layout of tables and figures: backbones, methods, datasets and baselines in display order."""
    preset = active_preset(config)
    return {
        "preset": config["preset"],
        "seeds": seeds(config),
        "table3_base": config["table3_base"] == "shown",
        "backbones": _catalogue_entries(config["backbones"], preset["backbones"]),
        "methods": preset["methods"],
        "rows": _method_rows(preset, list_table_methods(preset)),
        "controls": _method_rows(preset, list_controls(preset)),
        **{key: config[key] for key in ("proposed_method", "cost_baseline")},
        "retrieval_datasets": _catalogue_entries(config["datasets"], preset["retrieval_datasets"]),
        "knowledge_datasets": _catalogue_entries(config["datasets"], preset["knowledge_datasets"]),
        "retention_datasets": _catalogue_entries(config["datasets"], preset["retention_datasets"]),
        "baselines": [asdict(baseline) for baseline in list_baselines(config)],
    }


def list_baselines(config: Config) -> list[Baseline]:
    """List the baselines of the active preset, in the order of the tables."""
    found = find_baselines(config).items()
    return [Baseline(name, group=kind.table_group, **kind.describe(config, entry)) for name, (kind, entry) in found]


def claims_settings(config: Config) -> Config:
    """Build the settings for judging the claims: the layout, and the labels of its synthetic datasets."""
    preset = active_preset(config)
    datasets = [config["datasets"][name] for name in (*preset["retrieval_datasets"], *preset["retention_datasets"])]
    synthetic_labels = [entry["label"] for entry in datasets if "synthetic" in entry]
    return layout(config) | {"synthetic": synthetic_labels}


def compare_settings(config: Config) -> Config:
    """Build the settings of comparisons: all backbones and datasets, standard deviations over seeds, and tolerances.

    All backbones and datasets are listed, because results of any preset may be compared.
    """
    return dict(
        backbones=_catalogue_entries(config["backbones"], list(config["backbones"])),
        datasets=_catalogue_entries(config["datasets"], list(config["datasets"])),
        rows=[{key: row[key] for key in ("name", "label")} for row in _all_method_rows(config)],
        **{key: config[key] for key in ("proposed_method", "cost_baseline")},
        seed_sd={
            name: preset["seed_sd"] | {one: of_method(preset, preset["seed_sd"], one, {}) for one in variants(preset)}
            for name, preset in config["presets"].items()
        },
        **config["compare"],
    )


def queries_settings(config: Config, backbone: str, method: str, name: str) -> Config:
    """Build the settings of the query figure: the run with the first seed, the dataset, and their labels."""
    return {
        "preset": config["preset"],
        "method": method,
        "method_label": method_entry(active_preset(config), method).label,
        "seed": list_run_seeds(method, seeds(config))[0],
        "dataset": name,
        "dataset_label": config["datasets"][name]["label"],
        "backbone_label": config["backbones"][backbone]["label"],
    }


def _all_method_rows(config: Config) -> list[Config]:
    """List the distinct methods of all presets."""
    rows = [row for preset in config["presets"].values() for row in _method_rows(preset, list_table_methods(preset))]
    return list({row["name"]: row for row in rows}.values())


def _method_rows(preset: Config, names: Sequence[str]) -> list[Config]:
    """List methods for tables and figures, with label, colour and whether they change the backbone."""
    entries = [method_entry(preset, name) for name in names]
    return [
        {
            "name": entry.name,
            "label": entry.label,
            "color": entry.color,
            "changes_backbone": entry.method.changes_backbone,
            "read_out": entry.method.read_out,
            "adaptation": entry.method.adaptation,
        }
        for entry in entries
    ]


def _catalogue_entries(catalogue: Config, names: list[str]) -> list[dict[str, str]]:
    """List entries of a catalogue with label, paper name (row or column of the paper) and `scored_as`.

    `scored_as` is the benchmark whose scorer is used for a retention dataset. A value is empty if the entry lacks it.
    """
    entries = []
    for name in names:
        entry: Config = {"label": "", "scored_as": "", **catalogue[name]}
        paper_name = entry.get("paper_row", entry.get("paper_column", ""))
        entries.append({"name": name, "paper_name": paper_name, **{key: entry[key] for key in ("label", "scored_as")}})
    return entries
