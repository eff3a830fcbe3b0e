"""The slice of the configuration that each rule depends on, as compact JSON.

Snakemake re-runs a job when one of these strings changes, and nothing else of the configuration: a slice holds what can
change the result of its rule. Imported whenever the Snakefile is read, so nothing heavy here.
"""

import json
from typing import Any

from slq.code import code_hash
from slq.config import Config, chosen, drawn_of, seeds, splits
from slq.proofs import PROVED
from slq.seeds import seeds_of

NO_LIMIT = 1e12  # pixels


def draw_settings(config: Config, name: str, split: str) -> str:
    """Of a drawn split: its slice of all scenes, or signs. Slices follow each other in the order of `sets`."""
    sets = config["sets"]
    what = drawn_of(sets[name])
    alike = {other: entry for other, entry in sets.items() if "drawn" in entry and drawn_of(entry) == what}
    order = [(other, part) for other, entry in alike.items() for part in splits(entry)]
    before = order[: order.index((name, split))]
    entry = sets[name]
    return _compact(
        set=name,
        split=split,
        columns=entry.get("columns"),
        style=entry["drawn"]["style"],
        first=sum(alike[other]["drawn"][what][part] for other, part in before),
        count=entry["drawn"][what][split],
        seed=config["world"]["seed"],
    )


def adopt_flags(config: Config, name: str) -> str:
    """How `slq adopt` is told that a supplied set is not in the prepared form, and which images are one."""
    flags = {"columns": "--columns", "same_image": "--same-image"}
    entry = config["sets"][name]
    return " ".join(f"{flag} {entry[key]}" for key, flag in flags.items() if key in entry)


def prepare_settings(config: Config, name: str, split: str) -> str:
    """Of a split that is read from a fetched source: how the source lists it, and what it must hold."""
    entry = config["sets"][name]
    how = entry.get("splits", {}).get(split, {})
    if "columns" in entry:
        return _compact(set=name, split=split, columns=entry["columns"], how=how)
    return _compact(
        set=name,
        split=split,
        form=entry["form"],
        how=how,
        numbering=entry.get("numbering"),
        photos=entry.get("photos", []),
        allow_leak=split == "train" and chosen(config)["allow_leak"],
    )


def columns_code(config: Config, name: str) -> str:
    """Identity of the code that makes a set's items, where it is not in the prepared form already."""
    entry = config["sets"][name]
    if "columns" in entry:
        return code_hash("data/columns.py", "data/questions.py")
    return code_hash("data/forms.py", "data/ids.py", "data/prepare.py") if "form" in entry else ""


def pretrain_settings(config: Config, backbone: str) -> str:
    """Of a backbone that is made here."""
    entry = config["backbones"][backbone]
    return _compact(backbone=backbone, family=entry["family"], seed=config["world"]["seed"], **entry["pretrain"])


def fetch_settings(config: Config, catalogue: str, name: str) -> str:
    """Of a source, or of a backbone or encoder that comes from one or from a folder: where its bytes are from."""
    entry = config[catalogue][name]
    if "local" in entry:
        return _compact(name=name, weights=True, parts=[{"supplied": entry["local"]}])
    source = entry.get("source", name)
    parts = [{key: part[key] for key in part if key != "gb"} for part in config["sources"][source]["parts"]]
    return _compact(name=source, weights="source" in entry, parts=parts)


def instrument_settings(config: Config) -> str:
    """Of the instrument check: public models, and the sets that they are checked on."""
    preset = chosen(config)
    return _compact(
        encoders=preset["instruments"],
        sets=[{"name": name, "reference": config["sets"][name]["reference"]} for name in preset["retrieval_sets"]],
        batch_size=preset["evaluation"]["batch_size"],
    )


def audit_settings(config: Config) -> str:
    """Of the audit: which sets must not overlap, unless that is allowed."""
    preset = chosen(config)
    return _compact(**{key: preset[key] for key in ("train_set", "retrieval_sets", "retention_sets", "allow_leak")})


def train_settings(config: Config, backbone: str, method: str) -> str:
    """Of a run but for its seed; the backbone's own `training` wins over the preset's, the method's on it over both."""
    preset, entry = chosen(config), config["backbones"][backbone]
    own = entry.get("runs", {}).get(method, {}).get("training", {})
    return _compact(
        preset=config["preset"],
        backbone=backbone,
        method=method,
        family=entry["family"],
        dtype=preset["dtype"],
        prompt=preset["prompt"],
        training=preset["training"] | entry.get("training", {}) | own,
        tuning=preset["tuning"].get(method, {}),
    )


def train_resources(config: Config, backbone: str, method: str) -> Config:
    """What the training of a run asks a cluster for: the preset's, and what differs for the method on the backbone."""
    own: Config = config["backbones"][backbone].get("runs", {}).get(method, {}).get("resources", {})
    return chosen(config)["resources"]["train"] | own


def select_settings(config: Config, backbone: str, method: str) -> str:
    """Of the search for a run's learning rate: as in training, but for the rate itself and the grid."""
    settings = json.loads(train_settings(config, backbone, method))
    del settings["tuning"]["learning_rate"]
    return _compact(**settings, selection=chosen(config)["selection"])


def retrieve_settings(config: Config, backbone: str) -> str:
    """Of a run's evaluation on the retrieval sets."""
    preset = chosen(config)
    return _compact(
        family=config["backbones"][backbone]["family"],
        dtype=preset["dtype"],
        prompt=preset["prompt"],
        batch_size=preset["evaluation"]["batch_size"],
        sets=[_counted(config, name) for name in preset["retrieval_sets"]],
    )


def _counted(config: Config, name: str) -> Config:
    """A retrieval set, the ways to count it, and the one that is printed."""
    entry = config["sets"][name]
    variants = [{"name": one, **how} for one, how in entry.get("variants", {"all": {}}).items()]
    return {"name": name, "variants": variants, "printed": entry.get("printed", "all")}


def retain_settings(config: Config, backbone: str) -> str:
    """Of a run's evaluation on the retention sets; the reference decides which scorers read the answers."""
    preset, entry = chosen(config), config["backbones"][backbone]
    references = {name: config["sets"][name]["reference"] for name in preset["retention_sets"]}
    scorers, images = preset["evaluation"]["scorers"], entry.get("retention_images", {})
    return _compact(
        family=entry["family"],
        dtype=preset["dtype"],
        max_new_tokens=preset["evaluation"]["max_new_tokens"],
        batch_size=preset["evaluation"]["answer_batch"],
        sets=[
            {"name": name, "reference": one, "scorer": scorers[one], "images": images.get(one, {})}
            for name, one in references.items()
        ],
    )


def prove_settings(config: Config, backbone: str) -> str:
    """Of the proof that a run answers as base does: how base is asked, and how many items of each set are."""
    return _compact(
        asked=json.loads(retain_settings(config, backbone)), proof_items=chosen(config)["evaluation"]["proof_items"]
    )


def layout(config: Config) -> str:
    """Of the tables and figures: backbones, methods and sets in their order."""
    preset = chosen(config)
    return _compact(
        preset=config["preset"],
        seeds=seeds(config),
        table3_base=config["table3_base"] == "shown",
        backbones=_entries(config["backbones"], preset["backbones"]),
        methods=preset["methods"],
        retrieval_sets=_entries(config["sets"], preset["retrieval_sets"]),
        retention_sets=_entries(config["sets"], preset["retention_sets"]),
    )


def compare_settings(config: Config) -> str:
    """Of comparisons: every backbone and set by its name, as results of any preset may be compared, and the bars."""
    return _compact(
        backbones=_entries(config["backbones"], list(config["backbones"])),
        sets=_entries(config["sets"], list(config["sets"])),
        seed_sd={name: preset["seed_sd"] for name, preset in config["presets"].items()},
        **config["compare"],
    )


def forecast_settings(config: Config) -> str:
    """Of the forecast: sizes of the preset's backbones and sets, and the device that it is made for."""
    preset, taken = chosen(config), config["accounting"]
    device = taken["devices"].get(preset["forecast"]["device"], {})
    evaluation = preset["evaluation"]
    return _compact(
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
        retention_sets=[_sizes_of_set(config, name) for name in preset["retention_sets"]],
    )


def account_settings(config: Config) -> str:
    """Of the ledger: the preset's runs, and what their hours are counted with."""
    preset, taken = chosen(config), config["accounting"]
    return _compact(
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
        **{key: taken[key] for key in ("devices", "price")},
    )


def architecture(config: Config, backbone: str) -> Config:
    """Sizes of a backbone as its config.json says them; empty if config.yaml does not."""
    entry = config["backbones"][backbone]
    found: Config = entry["pretrain"]["model"] if "pretrain" in entry else entry.get("architecture", {})
    return found


def _sizes_of_backbone(config: Config, name: str) -> Config:
    """Its architecture, how each method trains on it, and into what its images are cut or scaled."""
    preset, entry = chosen(config), config["backbones"][name]
    training = {method: json.loads(train_settings(config, name, method))["training"] for method in preset["methods"]}
    own = entry.get("pretrain", {}).get("image_processor", {}).get("size", {})
    pixels = [own.get("shortest_edge", 0), own.get("longest_edge", NO_LIMIT)]
    limits = []
    for asked in preset["retention_sets"]:
        cut = entry.get("retention_images", {}).get(config["sets"][asked]["reference"], {})
        tiles = cut.get("max_tiles", 1)
        scaled = [cut.get("min_pixels", pixels[0]), cut.get("max_pixels", pixels[1])]
        limits.append({"tiles": tiles + 1 if tiles > 1 else 1, "pixels": scaled})
    return {
        "name": name,
        "label": entry["label"],
        "architecture": architecture(config, name),
        "training": training,
        "gpus": {method: train_resources(config, name, method)["gpus"] for method in preset["methods"]},
        "pixels": pixels,
        "retention_limits": limits,
        "fetched": "pretrain" not in entry,
    }


def _sizes_of_set(config: Config, name: str) -> Config:
    """How much a set holds, of a drawn one as it will be drawn."""
    entry = config["sets"][name]
    size = dict(entry.get("size", {}))
    if "drawn" in entry and size:
        size["images"] = entry["drawn"][drawn_of(entry)]
        size["texts"] = {split: size["texts_per_image"] * count for split, count in size["images"].items()}
    return {"name": name, "size": size}


def queries_settings(config: Config, backbone: str, method: str, name: str) -> str:
    """Of the figure of queries: which run on which set, as it is labelled; of several seeds the first."""
    return _compact(
        preset=config["preset"],
        method=method,
        seed=seeds_of(method, seeds(config))[0],
        set=name,
        set_label=config["sets"][name]["label"],
        backbone_label=config["backbones"][backbone]["label"],
    )


def _entries(catalogue: Config, names: list[str]) -> list[dict[str, str]]:
    return [{"name": name} | {key: catalogue[name][key] for key in ("label", "reference")} for name in names]


def _compact(**values: Any) -> str:
    """JSON in one canonical form, ASCII only: it travels on command lines."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
