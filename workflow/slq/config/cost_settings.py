"""Settings for computing costs, before and after a run.

This module is imported whenever the Snakefile is read, like job_settings.py, so its imports must be fast.
"""

from slq.baselines.registry import find_baselines
from slq.common.errors import SlqError
from slq.config.loading import Config, active_preset, is_derived, parent_dataset, seeds, split_names, synthetic_kind
from slq.config.runs import list_run_seeds, merge_training_resources, merge_training_settings, method_entry, variants
from slq.methods.registry import BASE

NO_PIXEL_LIMIT = 1e12  # pixels
BENCH_BATCH = 4  # pairs
SCHEDULE_KEYS = ("learning_rate", "warmup_steps")  # hyperparameters of every method that do not change its cost


def forecast_settings(config: Config) -> Config:
    """Build the settings of the cost forecast: sizes of the preset's backbones and datasets, and the target device."""
    preset, accounting = active_preset(config), config["accounting"]
    device = accounting["devices"].get(preset["forecast"]["device"], {})
    evaluation = preset["evaluation"]
    return dict(
        preset=config["preset"],
        seeds=seeds(config),
        **{key: preset[key] for key in ("methods", "dtype")},
        **_method_settings(preset),
        **{key: evaluation[key] for key in ("equivalence_items", "generation_batch_size", "max_new_tokens")},
        **{key: accounting[key] for key in ("mfu", "price", "prompt_overhead_tokens", "seconds_per_generated_token")},
        device=preset["forecast"]["device"],
        num_devices=preset["forecast"]["num_devices"],
        peak_tflops=device.get("peak_tflops"),
        inheriting_methods=sorted(
            name for name in preset["methods"] if method_entry(preset, name).method.inherits_retention
        ),
        backbones=[_backbone_sizes(config, name) for name in preset["backbones"]],
        train_dataset=dataset_sizes(config, preset["train_dataset"]),
        retrieval_datasets=[dataset_sizes(config, name) for name in preset["retrieval_datasets"]],
        knowledge_datasets=[dataset_sizes(config, name) for name in preset["knowledge_datasets"]],
        retention_datasets=[dataset_sizes(config, name) for name in preset["retention_datasets"]],
    )


def ledger_settings(config: Config) -> Config:
    """Build the settings of the ledger: the preset's runs, and the devices and prices of their GPU hours."""
    preset, accounting = active_preset(config), config["accounting"]
    return dict(
        preset=config["preset"],
        methods=preset["methods"],
        **_method_settings(preset),
        seeds={method: list_run_seeds(method, seeds(config)) for method in preset["methods"]},
        backbones=[{"name": name, "architecture": architecture(config, name)} for name in preset["backbones"]],
        baselines=[
            {"name": name, "backbone": entry["backbone"] if kind.on_each_backbone else ""}
            for name, (kind, entry) in find_baselines(config).items()
        ],
        **{key: accounting[key] for key in ("devices", "price")},
    )


def train_step_settings(
    config: Config, backbone: str, batch: int | None, dtype: str, whole_step: bool = False
) -> Config:
    """Return the settings of `slq bench`: a backbone's sizes, and batches with as many captions as in training.

    The number of captions per image is that of the preset's training set.

    Args:
        batch: pairs of a step; None for BENCH_BATCH or, of a whole step, the preset's.
        whole_step: whether a step is taken as the preset trains, in micro-batches with its GradCache and gradient
            checkpointing, and not at once and without memory saving.

    Raises:
        SlqError: config.yaml lacks the number of images or texts of the training set, or the proposed method has no
            queries.
    """
    preset, entry, accounting = active_preset(config), config["backbones"][backbone], config["accounting"]
    size = dataset_sizes(config, preset["train_dataset"])["size"]
    missing = [key for key in ("images", "texts") if "train" not in size.get(key, {})]
    if missing:
        key = f"datasets.{preset['train_dataset']}.size.{missing[0]}.train"
        raise SlqError(f"config: {key} is missing; slq bench needs the number of captions per image in training")
    queries = method_entry(preset, config["proposed_method"]).hyperparameters.get("queries")
    if queries is None:
        raise SlqError(
            f"config: proposed_method is {config['proposed_method']}, which has no queries; slq bench needs a method "
            "with queries"
        )
    images, texts = size["images"]["train"], size["texts"]["train"]
    entries = {name: one for name, one in preset["hyperparameters"].items() if name in preset["methods"]}
    methods = [name for name in entries if name == method_entry(preset, name).method.name]
    training = {name: merge_training_settings(preset, entry, name) for name in methods}
    own = training[config["proposed_method"]]
    batch = batch or (own["batch_size"] if whole_step else BENCH_BATCH)
    return {
        "backbone": backbone,
        "family": entry["family"],
        "architecture": architecture(config, backbone),
        "dtype": dtype,
        "batch": batch,
        "micro_batch_size": min(batch, own["micro_batch_size"]) if whole_step else batch,
        "grad_cache": whole_step and own["grad_cache"],
        "gradient_checkpointing": [name for name in methods if whole_step and training[name]["gradient_checkpointing"]],
        "captions": round(texts / images),
        "pairs": texts * preset["training"]["epochs"],
        "pixels": size["pixels"],
        "queries": queries,
        "hyperparameters": entries,
        "temperature": preset["training"]["temperature"],
        "prompt_overhead_tokens": accounting["prompt_overhead_tokens"],
        "devices": {name: device.get("peak_tflops") for name, device in accounting["devices"].items()},
    }


def _method_settings(preset: Config) -> Config:
    """Return the hyperparameters of each method that may change its cost, and the method and label of each variant."""
    entries = variants(preset)
    merged = preset["hyperparameters"] | {name: one.hyperparameters for name, one in entries.items()}
    costing = {name: {key: one[key] for key in one if key not in SCHEDULE_KEYS} for name, one in merged.items()}
    described = {name: one.settings | {"label": one.label} for name, one in entries.items()}
    return {"hyperparameters": costing} | ({"variants": described} if entries else {})


def architecture(config: Config, backbone: str) -> Config:
    """Return the sizes of a backbone as in its config.json; empty if config.yaml lacks them."""
    entry = config["backbones"][backbone]
    sizes: Config = entry["pretrain"]["model"] if "pretrain" in entry else entry.get("architecture", {})
    return sizes


def _backbone_sizes(config: Config, name: str) -> Config:
    """Return a backbone's architecture, the training settings of each method on it, and its limits on image size."""
    preset, entry = active_preset(config), config["backbones"][name]
    methods = {BASE, *preset["methods"]}  # equivalence checks run base even if no row of the tables shows it
    processor_size = entry.get("pretrain", {}).get("image_processor", {}).get("size", {})
    processor_size = {} if isinstance(processor_size, int) else processor_size  # an int is a fixed side, not a limit
    pixels = [processor_size.get("shortest_edge", 0), processor_size.get("longest_edge", NO_PIXEL_LIMIT)]
    limits = []
    for dataset in preset["retention_datasets"]:
        image_limits = entry.get("retention_images", {}).get(config["datasets"][dataset]["scored_as"], {})
        tiles = image_limits.get("max_tiles", 1)
        pixel_range = [image_limits.get("min_pixels", pixels[0]), image_limits.get("max_pixels", pixels[1])]
        limits.append({"tiles": tiles + 1 if tiles > 1 else 1, "pixels": pixel_range})
    return {
        "name": name,
        "label": entry["label"],
        "architecture": architecture(config, name),
        "training": {method: merge_training_settings(preset, entry, method) for method in methods},
        "gpus": {method: merge_training_resources(preset, entry, method)["gpus"] for method in methods},
        "pixels": pixels,
        "retention_limits": limits,
    }


def paper_audit_settings(config: Config) -> Config:
    """Build the settings of the audit of the paper's tables: the paper's method, and the sizes of its models.

    The sizes come from the first preset that has only the paper's backbones; without such a preset there are no sizes.
    """
    paper_presets = [
        name
        for name, preset in config["presets"].items()
        if all(config["backbones"][one].get("paper_row") == one for one in preset["backbones"])
    ]
    sizes = forecast_settings(config | {"preset": paper_presets[0]}) if paper_presets else {"backbones": []}
    return sizes | {"proposed_method": config["proposed_method"]}


def dataset_sizes(config: Config, name: str) -> Config:
    """Return the number of images and texts of a dataset; for a synthetic dataset, the numbers to be generated."""
    entry = config["datasets"][name]
    size = dict(entry.get("size", {}))
    if "synthetic" in entry and "texts_per_image" in size:
        image_entry = config["datasets"][parent_dataset(entry)] if is_derived(entry) else entry
        size["images"] = {
            split: image_entry["synthetic"][synthetic_kind(image_entry)][split] for split in split_names(entry)
        }
        size["texts"] = {split: size["texts_per_image"] * count for split, count in size["images"].items()}
    return {"name": name, "size": size}
