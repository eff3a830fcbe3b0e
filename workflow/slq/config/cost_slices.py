"""What of the configuration cost is counted with, before a run and after it; as settings.py, nothing heavy."""

from slq.common.errors import SlqError
from slq.common.inherited import PROVED
from slq.config.baselines import rows_of
from slq.config.loading import Config, chosen, drawn_of, is_derived, origin, seeds, splits
from slq.config.runs import resources_of, seeds_of, training_of
from slq.config.slices import compact

NO_LIMIT = 1e12  # pixels


def forecast_settings(config: Config) -> str:
    """Of the forecast: sizes of the preset's backbones and sets, and the device that it is made for."""
    preset, taken = chosen(config), config["accounting"]
    device = taken["devices"].get(preset["forecast"]["device"], {})
    evaluation = preset["evaluation"]
    return compact(
        preset=config["preset"],
        seeds=seeds(config),
        **{key: preset[key] for key in ("methods", "dtype", "tuning")},
        **{key: evaluation[key] for key in ("proof_items", "answer_batch", "max_new_tokens")},
        **{key: taken[key] for key in ("mfu", "price", "turn_tokens", "token_seconds")},
        device=preset["forecast"]["device"],
        at_once=preset["forecast"]["at_once"],
        peak_tflops=device.get("peak_tflops"),
        proved=sorted(PROVED),
        backbones=[_sizes_of_backbone(config, name) for name in preset["backbones"]],
        train_set=_sizes_of_set(config, preset["train_set"]),
        retrieval_sets=[_sizes_of_set(config, name) for name in preset["retrieval_sets"]],
        knowledge_sets=[_sizes_of_set(config, name) for name in preset["knowledge_sets"]],
        retention_sets=[_sizes_of_set(config, name) for name in preset["retention_sets"]],
    )


def account_settings(config: Config) -> str:
    """Of the ledger: the preset's runs, and what their hours are counted with."""
    preset, taken = chosen(config), config["accounting"]
    return compact(
        preset=config["preset"],
        methods=preset["methods"],
        tuning={
            method: {
                key: value for key, value in preset["tuning"].get(method, {}).items() if key in ("queries", "rank")
            }
            for method in preset["methods"]
        },
        seeds={method: seeds_of(method, seeds(config)) for method in preset["methods"]},
        backbones=[{"name": name, "architecture": architecture(config, name)} for name in preset["backbones"]],
        rows=[
            {"name": row.name, "backbone": "" if row.kind == "comparator" else row.backbone} for row in rows_of(config)
        ],
        **{key: taken[key] for key in ("devices", "price")},
    )


def step_settings(config: Config, backbone: str, batch: int, dtype: str) -> Config:
    """Of `slq bench train-step`: a backbone's sizes, and batches as its preset's training set fills them.

    Raises:
        SlqError: config.yaml does not say how much the training set holds.
    """
    preset, entry, taken = chosen(config), config["backbones"][backbone], config["accounting"]
    size = _sizes_of_set(config, preset["train_set"])["size"]
    missing = [key for key in ("images", "texts") if "train" not in size.get(key, {})]
    if missing:
        key = f"sets.{preset['train_set']}.size.{missing[0]}.train"
        raise SlqError(f"config: {key} is missing; a bench fills its batches as the training set does")
    images, texts = size["images"]["train"], size["texts"]["train"]
    return {
        "backbone": backbone,
        "family": entry["family"],
        "architecture": architecture(config, backbone),
        "dtype": dtype,
        "batch": batch,
        "micro_batch": batch,
        "captions": round(texts / images),
        "pairs": texts * preset["training"]["epochs"],
        "pixels": size["pixels"],
        "queries": preset["tuning"]["slq"]["queries"],
        "tuning": preset["tuning"],
        "temperature": preset["training"]["temperature"],
        "turn_tokens": taken["turn_tokens"],
        "devices": {name: device.get("peak_tflops") for name, device in taken["devices"].items()},
    }


def architecture(config: Config, backbone: str) -> Config:
    """Sizes of a backbone as its config.json says them; empty if config.yaml does not."""
    entry = config["backbones"][backbone]
    found: Config = entry["pretrain"]["model"] if "pretrain" in entry else entry.get("architecture", {})
    return found


def _sizes_of_backbone(config: Config, name: str) -> Config:
    """Its architecture, how each method trains on it, and into what its images are cut or scaled."""
    preset, entry = chosen(config), config["backbones"][name]
    methods = {"base", *preset["methods"]}  # base too where no row shows it: a proof asks it
    own = entry.get("pretrain", {}).get("image_processor", {}).get("size", {})
    pixels = [own.get("shortest_edge", 0), own.get("longest_edge", NO_LIMIT)]
    limits = []
    for asked in preset["retention_sets"]:
        cut = entry.get("retention_images", {}).get(config["sets"][asked]["scored_as"], {})
        tiles = cut.get("max_tiles", 1)
        scaled = [cut.get("min_pixels", pixels[0]), cut.get("max_pixels", pixels[1])]
        limits.append({"tiles": tiles + 1 if tiles > 1 else 1, "pixels": scaled})
    return {
        "name": name,
        "label": entry["label"],
        "architecture": architecture(config, name),
        "training": {method: training_of(preset, entry, method) for method in methods},
        "gpus": {method: resources_of(preset, entry, method)["gpus"] for method in methods},
        "pixels": pixels,
        "retention_limits": limits,
    }


def paper_audit_settings(config: Config) -> str:
    """Of the audit of the paper's tables: sizes of its models, by the preset that has no other."""
    own = [
        name
        for name, preset in config["presets"].items()
        if all(config["backbones"][one].get("reference") == one for one in preset["backbones"])
    ]
    return forecast_settings(config | {"preset": own[0]}) if own else "{}"


def _sizes_of_set(config: Config, name: str) -> Config:
    """How much a set holds, of a drawn one as it will be drawn."""
    entry = config["sets"][name]
    size = dict(entry.get("size", {}))
    if "drawn" in entry and "texts_per_image" in size:
        shown = config["sets"][origin(entry)] if is_derived(entry) else entry
        size["images"] = {split: shown["drawn"][drawn_of(shown)][split] for split in splits(entry)}
        size["texts"] = {split: size["texts_per_image"] * count for split, count in size["images"].items()}
    return {"name": name, "size": size}
