"""The slice of the configuration that each rule depends on, as compact JSON.

Snakemake re-runs a job when one of these strings changes, and nothing else of the configuration: a slice holds what can
change the result of its rule. Imported whenever the Snakefile is read, so nothing heavy here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from slq.config.baselines import rows_of
from slq.config.loading import Config, chosen, drawn_of, is_derived, origin, seeds, splits
from slq.config.runs import STORED, seeds_of, training_of


def draw_settings(config: Config, name: str, split: str) -> str:
    """Of a drawn split: its slice of all scenes, or signs, and in which words it is described.

    Slices follow each other in the order of `sets`. A set of another's scenes has the other's slice.
    """
    sets = config["sets"]
    words = sets[name]["drawn"].get("words", "plain")
    if is_derived(sets[name]):
        other = json.loads(draw_settings(config, origin(sets[name]), split))
        return compact(**other | {"set": name, "words": words})
    what = drawn_of(sets[name])
    alike = {other: entry for other, entry in sets.items() if "drawn" in entry and drawn_of(entry) == what}
    order = [(other, part) for other, entry in alike.items() for part in splits(entry)]
    before = order[: order.index((name, split))]
    entry = sets[name]
    return compact(
        set=name,
        split=split,
        columns=entry.get("columns"),
        style=entry["drawn"]["style"],
        first=sum(alike[other]["drawn"][what][part] for other, part in before),
        count=entry["drawn"][what][split],
        words=words,
        seed=config["world"]["seed"],
    )


def adopt_flags(config: Config, name: str) -> str:
    """How `slq adopt` is told that a supplied set is not in the prepared form, and which images are one."""
    flags = {"columns": "--columns", "same_image": "--same-image"}
    entry = config["sets"][name]
    return " ".join(f"{flag} {entry[key]}" for key, flag in flags.items() if key in entry)


def prepare_settings(config: Config, name: str, split: str, lists: Callable[[Config], Any] = dict) -> str:
    """Of a split that is read from a fetched source: how the source lists it, and what it must hold.

    `lists`: gives the hashes of the lists of ids that `only` and `without` name (`slq.sources.contents`).
    """
    entry = config["sets"][name]
    how = entry.get("splits", {}).get(split, {})
    if "columns" in entry:
        return compact(set=name, split=split, columns=entry["columns"], how=how)
    filtered = "only" in how or "without" in how
    listings = {other["file"] for other in entry["splits"].values()} | {*entry.get("photos", [])}
    return compact(
        set=name,
        split=split,
        form=entry["form"],
        how=how,
        **({"listings": sorted(listings), "lists": lists(how)} if filtered else {}),
        numbering=entry.get("numbering"),
        photos=entry.get("photos", []),
        allow_leak=split == "train" and chosen(config)["allow_leak"],
    )


def gather_settings(config: Config, name: str) -> str:
    """Of a set of queries that a person wrote: whose images they are about."""
    return compact(set=name, of=origin(config["sets"][name]))


def adapters(
    config: Config, backbones: Sequence[str] = (), encoders: Sequence[str] = ()
) -> dict[str, list[str] | None]:
    """The families of backbones and the kinds of dual encoders, as `slq.common.fingerprint.fingerprint` takes them.

    Of an encoder that is not made here its config.json says the kind, which is not there yet: then any may be the one.
    """
    kinds = [config["encoders"][name].get("pretrain", {}).get("model", {}).get("model_type") for name in encoders]
    return {
        "families": sorted({config["backbones"][name]["family"] for name in backbones}),
        "dual_encoders": None if None in kinds else sorted({kind for kind in kinds if kind is not None}),
    }


def pretrain_settings(config: Config, backbone: str) -> str:
    """Of a backbone that is made here."""
    entry = config["backbones"][backbone]
    return compact(backbone=backbone, family=entry["family"], seed=config["world"]["seed"], **entry["pretrain"])


def pretrain_encoder_settings(config: Config, encoder: str) -> str:
    """Of a dual encoder that is made here."""
    entry = config["encoders"][encoder]
    return compact(encoder=encoder, seed=config["world"]["seed"], **entry["pretrain"])


def fetch_settings(config: Config, catalogue: str, name: str, holds: Callable[[Config], str]) -> str:
    """Of a source, or of a backbone or encoder that comes from one or from a folder: where its bytes are from.

    `holds`: gives the hash of what a person's folder holds (`slq.sources.contents`), so that another content is another
    part.
    """
    entry = config[catalogue][name]
    source = entry.get("source", name)
    given = [{"supplied": entry["local"]}] if "local" in entry else config["sources"][source]["parts"]
    parts = [{key: part[key] for key in part if key not in ("gb", "from_listing")} for part in given]
    for part in parts:
        if "supplied" in part and (held := holds(part)):
            part["holds"] = held
    if "local" in entry:
        return compact(name=name, weights=True, parts=parts)
    return compact(name=source, weights="source" in entry, parts=parts)


def instrument_settings(config: Config) -> str:
    """Of the instrument check: public models, and the sets that they are checked on."""
    preset = chosen(config)
    return compact(
        encoders=preset["instruments"],
        sets=[
            {"name": name, "reference": config["sets"][name].get("reference", "")} for name in preset["retrieval_sets"]
        ],
        batch_size=preset["evaluation"]["batch_size"],
    )


def audit_settings(config: Config) -> str:
    """Of the audit: which sets must not overlap, unless that is allowed."""
    preset = chosen(config)
    keys = ("train_set", "retrieval_sets", "knowledge_sets", "retention_sets", "allow_leak")
    return compact(**{key: preset[key] for key in keys})


def train_settings(config: Config, backbone: str, method: str) -> str:
    """Of a run but for its seed."""
    preset, entry = chosen(config), config["backbones"][backbone]
    return compact(
        **_of_run(config, backbone, method),
        training=training_of(preset, entry, method),
        tuning=preset["tuning"].get(method, {}),
    )


def _of_run(config: Config, backbone: str, method: str) -> Config:
    """Which run it is, and how its backbone is read and asked."""
    run = {"preset": config["preset"], "backbone": backbone, "method": method}
    return run | read_as(config, backbone) | {"prompt": chosen(config)["prompt"]}


def read_as(config: Config, backbone: str) -> Config:
    """How a backbone is read: by which adapter, in which precision."""
    return {"family": config["backbones"][backbone]["family"], "dtype": chosen(config)["dtype"]}


def stored_prefix(config: Config, backbone: str, method: str) -> str | None:
    """What a run reads of images that a job keeps before it: vision or kv; None where nothing is kept."""
    prefix: str = training_of(chosen(config), config["backbones"][backbone], method)["prefix"]
    return prefix if prefix in STORED else None


def prefix_settings(config: Config, backbone: str, method: str) -> str:
    """Of the job that keeps something of images: nothing of what a run learns."""
    preset, entry = chosen(config), config["backbones"][backbone]
    training = training_of(preset, entry, method)
    return compact(
        **_of_run(config, backbone, method),
        batch_size=preset["evaluation"]["batch_size"],
        **{key: training[key] for key in ("attention", "workers", "prefix")},
    )


def select_settings(config: Config, backbone: str, method: str) -> str:
    """Of the search for a run's learning rate: as in training, but for the rate itself and the grid."""
    settings = json.loads(train_settings(config, backbone, method))
    del settings["tuning"]["learning_rate"]
    return compact(**settings, selection=chosen(config)["selection"])


def retrieve_settings(config: Config, backbone: str) -> str:
    """Of a run's evaluation on the retrieval sets, those that ask for knowledge among them."""
    preset = chosen(config)
    return compact(
        **read_as(config, backbone),
        prompt=preset["prompt"],
        batch_size=preset["evaluation"]["batch_size"],
        sets=counted_sets(config, preset["knowledge_sets"]),
    )


def counted_sets(config: Config, more: Sequence[str] = ()) -> list[Config]:
    """The retrieval sets, and more, of each the ways to count it, and the one that is printed."""
    counted = []
    for name in (*chosen(config)["retrieval_sets"], *more):
        entry = config["sets"][name]
        variants = [{"name": one, **how} for one, how in entry.get("variants", {"all": {}}).items()]
        counted.append({"name": name, "variants": variants, "printed": entry.get("printed", "all")})
    return counted


def retain_settings(config: Config, backbone: str) -> str:
    """Of a run's evaluation on the retention sets; what a set is scored as decides which scorers read its answers."""
    preset, entry = chosen(config), config["backbones"][backbone]
    benchmarks = {name: config["sets"][name]["scored_as"] for name in preset["retention_sets"]}
    scorers, images = preset["evaluation"]["scorers"], entry.get("retention_images", {})
    return compact(
        **read_as(config, backbone),
        max_new_tokens=preset["evaluation"]["max_new_tokens"],
        batch_size=preset["evaluation"]["answer_batch"],
        sets=[
            {"name": name, "benchmark": one, "scorer": scorers[one], "images": images.get(one, {})}
            | {key: config["sets"][name][key] for key in ("disputed",) if key in config["sets"][name]}
            for name, one in benchmarks.items()
        ],
    )


def prove_settings(config: Config, backbone: str) -> str:
    """Of the proof that a run answers as base does: how base is asked, and how many items of each set are."""
    return compact(
        asked=json.loads(retain_settings(config, backbone)), proof_items=chosen(config)["evaluation"]["proof_items"]
    )


def layout(config: Config) -> str:
    """Of the tables and figures: backbones, methods, sets and rows in their order."""
    preset = chosen(config)
    return compact(
        preset=config["preset"],
        seeds=seeds(config),
        table3_base=config["table3_base"] == "shown",
        backbones=_entries(config["backbones"], preset["backbones"]),
        methods=preset["methods"],
        retrieval_sets=_entries(config["sets"], preset["retrieval_sets"]),
        knowledge_sets=_entries(config["sets"], preset["knowledge_sets"]),
        retention_sets=_entries(config["sets"], preset["retention_sets"]),
        rows=[asdict(row) for row in rows_of(config)],
    )


def claims_settings(config: Config) -> str:
    """Of the claims: the layout, and which of its sets, by their labels, are drawn here."""
    preset = chosen(config)
    sets = [config["sets"][name] for name in (*preset["retrieval_sets"], *preset["retention_sets"])]
    drawn = [entry["label"] for entry in sets if "drawn" in entry]
    return compact(**json.loads(layout(config)), drawn=drawn)


def compare_settings(config: Config) -> str:
    """Of comparisons: every backbone and set by its name, as results of any preset may be compared, and the bars."""
    return compact(
        backbones=_entries(config["backbones"], list(config["backbones"])),
        sets=_entries(config["sets"], list(config["sets"])),
        seed_sd={name: preset["seed_sd"] for name, preset in config["presets"].items()},
        **config["compare"],
    )


def queries_settings(config: Config, backbone: str, method: str, name: str) -> str:
    """Of the figure of queries: which run on which set, as it is labelled; of several seeds the first."""
    return compact(
        preset=config["preset"],
        method=method,
        seed=seeds_of(method, seeds(config))[0],
        set=name,
        set_label=config["sets"][name]["label"],
        backbone_label=config["backbones"][backbone]["label"],
    )


def _entries(catalogue: Config, names: list[str]) -> list[dict[str, str]]:
    """Of each its label, what it stands for, and of a retention set whose scorers read it; empty where it says none."""
    keys = ("label", "reference", "scored_as")
    return [{"name": name} | {key: catalogue[name].get(key, "") for key in keys} for name in names]


def compact(**values: Any) -> str:
    """JSON in one canonical form, ASCII only: it travels on command lines."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
