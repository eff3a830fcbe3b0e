"""The settings from which cost is computed, before a run and after it.

Imported whenever the Snakefile is read, like job_settings.py, so no heavy imports here.
"""

from slq.baselines.registry import find_baselines
from slq.common.errors import SlqError
from slq.config.loading import Config, active_preset, is_derived, parent_dataset, seeds, split_names, synthetic_kind
from slq.config.runs import list_run_seeds, merge_training_resources, merge_training_settings, method_entry, variants
from slq.methods.registry import BASE

NO_PIXEL_LIMIT = 1e12  # pixels
SCHEDULE_KEYS = ("learning_rate", "warmup_steps")  # hyperparameters of all methods, which cost nothing


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
        train_dataset=_dataset_sizes(config, preset["train_dataset"]),
        retrieval_datasets=[_dataset_sizes(config, name) for name in preset["retrieval_datasets"]],
        knowledge_datasets=[_dataset_sizes(config, name) for name in preset["knowledge_datasets"]],
        retention_datasets=[_dataset_sizes(config, name) for name in preset["retention_datasets"]],
    )


def ledger_settings(config: Config) -> Config:
    """Build the settings of the ledger: the preset's runs, and the settings with which their hours are counted."""
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


def train_step_settings(config: Config, backbone: str, batch: int, dtype: str) -> Config:
    """Return the settings of `slq bench`: a backbone's sizes, and batches like those of the training set.

    The batches have as many captions per image as the training set of the preset.

    Raises:
        SlqError: config.yaml does not give the number of images or texts of the training set.
    """
    preset, entry, accounting = active_preset(config), config["backbones"][backbone], config["accounting"]
    size = _dataset_sizes(config, preset["train_dataset"])["size"]
    missing = [key for key in ("images", "texts") if "train" not in size.get(key, {})]
    if missing:
        key = f"datasets.{preset['train_dataset']}.size.{missing[0]}.train"
        raise SlqError(f"config: {key} is missing; a bench fills its batches as the training set does")
    queries = method_entry(preset, config["proposed_method"]).hyperparameters.get("queries")
    if queries is None:
        raise SlqError(
            f"config: proposed_method is {config['proposed_method']}, which has no queries; a bench times queries"
        )
    images, texts = size["images"]["train"], size["texts"]["train"]
    return {
        "backbone": backbone,
        "family": entry["family"],
        "architecture": architecture(config, backbone),
        "dtype": dtype,
        "batch": batch,
        "micro_batch_size": batch,
        "captions": round(texts / images),
        "pairs": texts * preset["training"]["epochs"],
        "pixels": size["pixels"],
        "queries": queries,
        "hyperparameters": preset["hyperparameters"],
        "temperature": preset["training"]["temperature"],
        "prompt_overhead_tokens": accounting["prompt_overhead_tokens"],
        "devices": {name: device.get("peak_tflops") for name, device in accounting["devices"].items()},
    }


def _method_settings(preset: Config) -> Config:
    """Return the hyperparameters by method that may cost something; of variants, what each is of, and its label."""
    entries = variants(preset)
    merged = preset["hyperparameters"] | {name: one.hyperparameters for name, one in entries.items()}
    costing = {name: {key: one[key] for key in one if key not in SCHEDULE_KEYS} for name, one in merged.items()}
    described = {name: one.settings | {"label": one.label} for name, one in entries.items()}
    return {"hyperparameters": costing} | ({"variants": described} if entries else {})


def architecture(config: Config, backbone: str) -> Config:
    """Return the sizes of a backbone as in its config.json; empty if config.yaml does not give them."""
    entry = config["backbones"][backbone]
    sizes: Config = entry["pretrain"]["model"] if "pretrain" in entry else entry.get("architecture", {})
    return sizes


def _backbone_sizes(config: Config, name: str) -> Config:
    """Return a backbone's architecture, how each method trains on it, and how its images are tiled or resized."""
    preset, entry = active_preset(config), config["backbones"][name]
    methods = {BASE, *preset["methods"]}  # equivalence checks run base even if no row shows it
    processor_size = entry.get("pretrain", {}).get("image_processor", {}).get("size", {})
    processor_size = {} if isinstance(processor_size, int) else processor_size  # a side has no limits
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
    """Build the settings of the audit of the paper's tables: its own method, and the sizes of its models.

    The sizes come from the first preset that has only the paper's backbones; there are none without such a preset.
    """
    paper_presets = [
        name
        for name, preset in config["presets"].items()
        if all(config["backbones"][one].get("paper_row") == one for one in preset["backbones"])
    ]
    sizes = forecast_settings(config | {"preset": paper_presets[0]}) if paper_presets else {"backbones": []}
    return sizes | {"proposed_method": config["proposed_method"]}


def _dataset_sizes(config: Config, name: str) -> Config:
    """Return the number of images and texts of a dataset; for a synthetic one, those that will be generated."""
    entry = config["datasets"][name]
    size = dict(entry.get("size", {}))
    if "synthetic" in entry and "texts_per_image" in size:
        image_entry = config["datasets"][parent_dataset(entry)] if is_derived(entry) else entry
        size["images"] = {
            split: image_entry["synthetic"][synthetic_kind(image_entry)][split] for split in split_names(entry)
        }
        size["texts"] = {split: size["texts_per_image"] * count for split, count in size["images"].items()}
    return {"name": name, "size": size}
