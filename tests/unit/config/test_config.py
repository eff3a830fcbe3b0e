"""The configuration: each fault gives one clear message before anything runs."""

import copy
import re
import subprocess
import sys
from datetime import date

import pytest
import yaml

from checkout import ROOT, snakemake
from slq.baselines.registry import find_kind, list_kinds
from slq.common.errors import SlqError
from slq.config import job_settings
from slq.config.loading import SCHEMA_FILE, active_preset, prefer_given_seeds, seeds, validate_config
from slq.config.method_schema import fill_baseline_schema, fill_method_schema
from slq.evaluation.scorers import SCORERS, find_scorers

REMOVE = type("Removed", (), {"__repr__": lambda self: "removed"})()  # keeps the ids of tests the same in every process
CONDITIONS = {"if", "then", "else", "not", "allOf", "oneOf", "dependentSchemas"}
METHODS = ("base", "full_ft", "lora", "slq")


def changed(raw, key, value):
    """The configuration with one value replaced, added or removed; `key` is written as in messages."""
    raw = copy.deepcopy(raw)
    *path, last = [int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", key.strip("]"))]
    place = raw
    for part in path:
        place = place[part]
    if value is REMOVE:
        del place[last]
    elif isinstance(place, list):
        place.insert(last, value)
    else:
        place[last] = value
    return raw


QUERIES = {"label": "mine", "paper_column": "mine", "kind": "retrieval", "queries": "mine.jsonl"}
BAD = [
    # misspelt keys, at every depth
    ("presset", "mini", "presset is not a key here; did you mean 'preset'?"),
    # names of an earlier version
    ("sets", {}, "sets is not a key here; since version 0.2.0 it is 'datasets'"),
    ("presets.mini.training.two_pass", True, "two_pass is not a key here; since version 0.2.0 it is 'grad_cache'"),
    ("datasets.coco.reference", "coco", "reference is not a key here; since version 0.2.0 it is 'paper_column'"),
    ("backbones.mini-internvl.reference", "x", "reference is not a key here; since version 0.2.0 it is 'paper_row'"),
    ("presets.mini.training.epoch", 5, "presets.mini.training.epoch is not a key here; did you mean 'epochs'?"),
    (
        "presets.mini.hyperparameters.slq.warmup",
        5,
        "presets.mini.hyperparameters.slq.warmup is not a key here; did you mean 'warmup_",
    ),
    ("backbones.mini-internvl.pretrain.step", 5, "pretrain.step is not a key here; did you mean 'steps'?"),
    (
        "datasets.mini-coco.synthetic.scenes.dev",
        5,
        "datasets.mini-coco.synthetic.scenes.dev is not a key here; keys: train, val, test",
    ),
    (
        "encoders.mini-clip.pretrain.stesp",
        5,
        "encoders.mini-clip.pretrain.stesp is not a key here; did you mean 'steps",
    ),
    ("synthetic.sed", 7, "synthetic.sed is not a key here; did you mean 'seed'?"),
    # missing keys
    ("synthetic", REMOVE, "synthetic is missing"),
    ("encoders.mini-blip.pretrain.model", REMOVE, "encoders.mini-blip.pretrain.model is missing"),
    ("presets.paper.training.epochs", REMOVE, "presets.paper.training.epochs is missing"),
    (
        "presets.mini.hyperparameters.slq",
        REMOVE,
        "presets.mini.hyperparameters.slq is missing; presets.mini.methods lists slq",
    ),
    # wrong types and values
    ("seeds", 2, "seeds is 2; expected a list"),
    ("seeds", [], "seeds is too short; expected at least 1"),
    ("seeds", [1, 2, 1], "seeds has the same item twice"),
    ("seeds", ["1", "01"], "seeds has the same item twice"),
    ("seeds", [1, "two"], "seeds[1] is 'two'; expected a whole number"),
    ("seeds[0]", -1, "seeds[0] is -1; expected at least 0"),
    ("seeds", REMOVE, "seeds is missing"),
    ("presets.paper-decisive.seeds", [1, 1], "presets.paper-decisive.seeds has the same item twice"),
    ("presets.mini.seeds", [], "presets.mini.seeds is too short; expected at least 1"),
    ("seed", "two", "seed is 'two'; expected a whole number"),
    ("seed", -1, "seed is -1; expected at least 0"),
    ("seed", True, "seed is true; expected a whole number"),
    (
        "presets.mini.training.mask_same_image",
        "of",
        "presets.mini.training.mask_same_image is 'of'; expected true or fa",
    ),
    ("presets.mini.training", None, "presets.mini.training is empty; expected a mapping"),
    ("presets.mini.backbones", "mini-internvl", "presets.mini.backbones is 'mini-internvl'; expected a list"),
    (
        "presets.mini.hyperparameters.slq.learning_rate",
        "1e-5",
        "expected a number (YAML reads 1e-5 as text; write 1e-05 with",
    ),
    (
        "presets.mini.hyperparameters.lora.dropout",
        1.0,
        "presets.mini.hyperparameters.lora.dropout is 1.0; expected less than 1",
    ),
    ("presets.mini.training.temperature", 0, "presets.mini.training.temperature is 0; expected more than 0"),
    ("presets.mini.retrieval_datasets", [], "presets.mini.retrieval_datasets is too short; expected at least 1"),
    ("presets.mini.methods[0]", "slq", "presets.mini.methods has the same item twice"),
    ("cells", "presnt", "cells is 'presnt'; did you mean 'present'?"),
    ("encoders.mini-clip.pretrain.batch_size", 1, "encoders.mini-clip.pretrain.batch_size is 1; expected at least 2"),
    ("datasets.a/b", {}, "datasets is 'a/b'; expected something like"),
    ("readouts.last_token.template", "user: {text}", "template is 'user: {text}'; expected {turn} in it once"),
    ("readouts.last_token.instructions.t2i.text", "a caption", "text is 'a caption'; expected {text} in it once"),
    (
        "readouts.last_token.instructions.t2i.image",
        "{image}\n{image}",
        "image is '{image}\\n{image}'; expected {image} in it once",
    ),
    # unknown names
    ("preset", "papre", "preset is 'papre', which is not under presets; did you mean 'paper'?"),
    ("presets.mini.backbones[0]", "mini-intern", "presets.mini.backbones[0] is 'mini-intern', which is not under back"),
    ("presets.mini.backbones[0]", "mini-intern", "did you mean 'mini-internvl'?"),
    ("presets.paper.methods[1]", "fulft", "presets.paper.methods[1] is 'fulft'; did you mean 'full_ft'?"),
    (
        "presets.mini.train_dataset",
        "mini-cocoa",
        "presets.mini.train_dataset is 'mini-cocoa', which is not under datasets; did yo",
    ),
    ("backbones.mini-internvl.family", "intervl", "which is not under workflow/slq/models/families; did you mean 'in"),
    (
        "backbones.mini-internvl.pretrain.dataset",
        "nothing",
        "backbones.mini-internvl.pretrain.dataset is 'nothing', which is",
    ),
    (
        "encoders.mini-clip.pretrain.dataset",
        "mini-cocoa",
        "encoders.mini-clip.pretrain.dataset is 'mini-cocoa', which is not",
    ),
    (
        "encoders.mini-clip.pretrain.model.model_type",
        "cilp",
        "encoders.mini-clip.pretrain.model.model_type is 'cilp', which is not under workflow/slq/models/dual_encoders",
    ),
    # names of the wrong kind
    ("presets.mini.train_dataset", "mini-flickr30k", "which has no split 'train' (datasets.mini-flickr30k)"),
    ("presets.mini.retrieval_datasets[0]", "mini-realworldqa", "a retention dataset; expected a retrieval dataset"),
    ("presets.mini.retention_datasets[0]", "mini-coco", "a retrieval dataset; expected a retention dataset"),
    ("backbones.mini-internvl.pretrain.dataset", "coco", "expected a synthetic dataset"),
    (
        "encoders.mini-blip.pretrain.dataset",
        "coco",
        "encoders.mini-blip.pretrain.dataset is 'coco'; expected a synthetic dataset",
    ),
    # texts that tables print
    ("datasets.mini-coco.label", " mini-COCO", "label is ' mini-COCO', which begins or ends with a blank; remove it"),
    ("backbones.mini-internvl.label", "a\nb", r"tables cannot print: LaTeX has no '\n' (U+000A); write one line of"),
    ("baselines.mini-clip.label", "\u4e2d\u6587", "LaTeX has no '\u4e2d' (U+4E2D); write one line of Latin letters"),
    ("baselines.mini-clip.trained_on", "\u2764", "trained_on is '\u2764', which tables cannot print"),
    ("accounting.price.currency", "\u20bf", "accounting.price.currency is '\u20bf', which tables cannot print"),
    # scorers of the retention datasets
    ("presets.mini.evaluation.scorers.mmmu", "first-lettr-1", "scorers.mmmu is 'first-lettr-1'; did you mean 'first-l"),
    ("presets.mini.evaluation.scorers.ocrbench", "mmmu-official-1", "expected: ocrbench-vlmevalkit-1, ocrbench-lmms"),
    ("presets.mini.evaluation.scorers.mmu", "first-letter-1", "scorers.mmu is not a key here; did you mean 'mmmu'?"),
    (
        "presets.mini.evaluation.scorers.realworldqa",
        REMOVE,
        "presets.mini.evaluation.scorers.realworldqa is missing; presets.mini.retention_datasets[1] is "
        "'mini-realworldqa'",
    ),
    # one source of bytes
    (
        "backbones.InternVL3-1B.source",
        REMOVE,
        "backbones.InternVL3-1B must have exactly one of pretrain, source, local_dir",
    ),
    (
        "backbones.InternVL3-1B.local_dir",
        "folder",
        "exactly one of pretrain, source, local_dir; found source and local_dir",
    ),
    ("backbones.InternVL3-1B.source", "InternVL3-1b", "is not under sources; did you mean 'InternVL3-1B'?"),
    (
        "encoders.CLIP-ViT-B-32.local_dir",
        "folder",
        "exactly one of pretrain, source, local_dir; found source and local_dir",
    ),
    (
        "encoders.mini-clip.pretrain",
        REMOVE,
        "encoders.mini-clip must have exactly one of pretrain, source, local_dir; found",
    ),
    ("encoders.CLIP-ViT-B-32.source", "CLIP", "encoders.CLIP-ViT-B-32.source is 'CLIP', which is not under sources"),
    # the table of sources
    ("sources.mmmu.parts[0].model", "a/b", "sources.mmmu.parts[0] must have exactly one of model, dataset, archive"),
    ("sources.mmmu.parts[0].dataset", "mmmu", "sources.mmmu.parts[0].dataset is 'mmmu'; expected something like"),
    ("sources.mmmu.parts[0].revision", REMOVE, "sources.mmmu.parts[0].revision is missing; 'dataset' needs it"),
    ("sources.mmmu.parts[0].bytes", 1, "parts[0].bytes does not apply to a repository on the hub; remove it"),
    ("sources.coco.parts[0].hash", "0da8c0bd", "sources.coco.parts[0].hash is '0da8c0bd'; expected something like"),
    ("sources.coco.parts[0].files[0]", "/etc/*", "sources.coco.parts[0].files[0] is '/etc/*'; expected something like"),
    ("sources.coco.parts[0].archive", "file:///a.zip", "parts[0].archive is 'file:///a.zip'; expected something like"),
    ("sources.flickr30k.parts[0].instructions", REMOVE, "sources.flickr30k.parts[0].instructions is missing"),
    (
        "datasets.mmmu.hub_layout",
        REMOVE,
        "datasets.mmmu.hub_layout is missing; a dataset with a source needs it to be read",
    ),
    (
        "datasets.coco.annotation_format",
        REMOVE,
        "datasets.coco.annotation_format is missing; a dataset with a source needs it to be read",
    ),
    ("datasets.coco.splits", REMOVE, "datasets.coco.splits is missing; a dataset with a source needs it to be read"),
    (
        "datasets.coco.splits.val",
        REMOVE,
        "presets.paper.train_dataset is 'coco', which has no split 'val' (datasets.coco)",
    ),
    (
        "datasets.coco.splits.test.source_splits",
        REMOVE,
        "datasets.coco.splits.test.source_splits is missing; annotation_format karpathy needs it",
    ),
    (
        "datasets.coco2017_train.splits.train.images",
        REMOVE,
        "datasets.coco2017_train.splits.train.images is missing; annotation_format coco",
    ),
    (
        "datasets.coco.splits.test.types",
        3,
        "datasets.coco.splits.test.types does not apply to a retrieval dataset; remove it",
    ),
    (
        "datasets.mmmu.splits.test.captions",
        3,
        "datasets.mmmu.splits.test.captions does not apply to a retention dataset",
    ),
    (
        "datasets.coco.splits.test.ids_sha256",
        "0f89",
        "datasets.coco.splits.test.ids_sha256 is '0f89'; expected something like",
    ),
    (
        "datasets.mini-coco.id_namespace",
        "coco",
        "datasets.mini-coco.id_namespace describes how a source is read, and datasets.mini-coco has no",
    ),
    ("presets.mini.allow_leak", REMOVE, "presets.mini.allow_leak is missing"),
    ("presets.mini.training.caption_sampling", "two", "sampling is 'two'; expected: all, random_one"),
    (
        "presets.mini.training.time_limit_margin_minutes",
        60,
        "hours is 1, 60 minutes, for full_ft on mini-internvl, but training stops 60 minutes",
    ),
    (
        "backbones.mini-qwen3vl.runs.lora",
        {"resources": {"hours": 1 / 30}},
        "is 0.0333, 2 minutes, for lora on mini-",
    ),
    ("datasets.mmmu.source", "mmu", "datasets.mmmu.source is 'mmu', which is not under sources; did you mean 'mmmu'?"),
    ("sources.coco.licence", REMOVE, "sources.coco.licence is missing"),
    (
        "datasets.coco.synthetic",
        {"style": "filled", "scenes": {"test": 1}},
        "one of synthetic, source, local_dir, queries; found synthetic a",
    ),
    # ways to count a retrieval dataset
    ("table3_base", "hide", "table3_base is 'hide'; did you mean 'hidden'?"),
    ("datasets.coco.same_image", "byte", "datasets.coco.same_image is 'byte'; did you mean 'bytes'?"),
    ("datasets.coco.variants.five.caption", 5, "variants.five.caption is not a key here; did you mean 'captions'?"),
    (
        "datasets.coco.table_variant",
        "fiv",
        "datasets.coco.table_variant is 'fiv', which is not under datasets.coco.variants; did you mean 'five'?",
    ),
    ("datasets.coco.table_variant", REMOVE, "datasets.coco.table_variant is missing"),
    ("datasets.flickr30k.table_variant", "all", "datasets.flickr30k.variants is missing"),
    ("datasets.mmmu.same_image", "row", "datasets.mmmu.same_image does not apply to a retention dataset; remove it"),
    ("datasets.mini-coco.variants.folds.fold", 30, "variants.folds.fold is 30, which does not divide the 200 images"),
    # layout of the hub's questions
    ("datasets.mmmu.hub_layout", "mmu", "datasets.mmmu.hub_layout is 'mmu'; did you mean 'mmmu'?"),
    (
        "datasets.coco.hub_layout",
        "mmmu",
        "datasets.coco.hub_layout does not apply to a retrieval dataset; remove it",
    ),
    (
        "datasets.mini-ocrbench.synthetic.signs.test",
        217,
        "the synthetic datasets request 217 signs (datasets.*.synthetic.signs); expected at most 216",
    ),
    ("datasets.mini-ocrbench.synthetic.scenes", {"test": 1}, "one of scenes, signs, scenes_of; found scenes and signs"),
    # datasets over the images of another
    (
        "datasets.mini-karr.synthetic.scenes_of",
        "mini-coc",
        "scenes_of is 'mini-coc'; expected a retrieval dataset with its own images",
    ),
    ("datasets.mini-karr.synthetic.scenes_of", "mini-ocrbench", "expected a retrieval dataset with its own images"),
    ("datasets.mini-flickr30k.synthetic.families", ["val"], "datasets.mini-flickr30k.synthetic.scenes.val is missing"),
    ("datasets.mini-mmmu.synthetic.families", ["test"], "families does not apply to a retention dataset; remove it"),
    ("datasets.mini-coco.synthetic.families", ["train"], "datasets.mini-coco.synthetic.families"),
    (
        "datasets.mini-karr.synthetic.scenes_of",
        "coco",
        "scenes_of is 'coco'; expected a synthetic dataset with a test split",
    ),
    (
        "datasets.mini-karr.synthetic.style",
        "filled",
        "datasets.mini-karr.synthetic.style does not apply to the images of another dataset;",
    ),
    (
        "datasets.mini-coco.synthetic.style",
        REMOVE,
        "datasets.mini-coco.synthetic.style is missing; images that are drawn for this dataset need a style",
    ),
    ("datasets.mini-karr.synthetic.words", "knowlege", "synthetic.words is 'knowlege'; did you mean 'knowledge'?"),
    (
        "datasets.mini-mmmu.synthetic.words",
        "knowledge",
        "datasets.mini-mmmu.synthetic.words does not apply to a retention dataset; remove it",
    ),
    ("datasets.mine", QUERIES, "datasets.mine.images_of is missing; queries are about the images of a dataset"),
    (
        "datasets.mine",
        QUERIES | {"images_of": "mmmu"},
        "datasets.mine.images_of is 'mmmu'; expected a retrieval dataset with its own images",
    ),
    (
        "datasets.mine",
        QUERIES | {"images_of": "mini-karr"},
        "datasets.mine.images_of is 'mini-karr'; expected a retrieval dataset with its own",
    ),
    ("presets.mini.knowledge_datasets[0]", "mini-mmmu", "a retention dataset; expected a retrieval dataset"),
    (
        "presets.mini.knowledge_datasets[0]",
        "mini-coco",
        "knowledge_datasets and presets.mini.retrieval_datasets both list 'mini-co",
    ),
    (
        "sources.InternVL3-1B.parts[0].revision",
        "main",
        "sources.InternVL3-1B.parts[0].from_listing needs a commit as revision, and revision is 'main'; remove it",
    ),
    ("presets.mini.train_dataset", "mini-karr", "which has no split 'train' (datasets.mini-karr)"),
    (
        "datasets.mini-coco.synthetic.scenes.train",
        1721,
        "the synthetic datasets request 2521 scenes (datasets.*.synthetic.scenes); expected at most",
    ),
    ("presets.mini.training.epochs", "many", "presets.mini.training.epochs is 'many'; expected a"),
    ("presets.mini.methods", ["sql"], "presets.mini.methods[0] is 'sql'; did you mean 'slq'?"),
    # kinds of values
    ("presets.mini.training.epochs", 5.0, "presets.mini.training.epochs is 5.0; expected a whole number"),
    ("presets.mini.training.num_workers", 10**6, "training.num_workers is 1000000; expected at most 1024"),
    ("accounting.mfu", [0.4, 0.15], "accounting.mfu is a list; expected the low value first"),
    ("accounting.mfu", [15, 40], "accounting.mfu[0] is 15; expected at most 1"),
    (
        "presets.mini.training.epochs",
        10**400,
        "presets.mini.training.epochs is too large; expected 0, or a magni",
    ),
    (
        "presets.mini.training.temperature",
        1e-300,
        "temperature is too small; expected 0, or a magnitude from 1",
    ),
    ("presets.mini.training.weight_decay", float("nan"), "presets.mini.training.weight_decay is not a finite number"),
    ("datasets.coco.label", "\ud83d", "datasets.coco.label contains half a surrogate pair"),
    ("datasets.coco.label", "CO\x1bCO", "datasets.coco.label contains the control character '\\x1b'; remove it"),
    ("datasets", {2017: {}}, "config: datasets has the key 2017; expected text on one line: put it in quotes"),
    ("sources.mmmu.parts[0].revision", date(2026, 7, 1), "revision is read by YAML as a date; put it in quotes if"),
    ("preset", "mini\n", "preset is 'mini\\n'; expected something like"),
    (
        "backbones.InternVL3-1B.architecture.text_config.hidden_size",
        "896",
        "architecture.text_config.hidden_size is '896'; expected a whole number",
    ),
    (
        "backbones.mini-internvl.pretrain.model.vision_config.patch_size",
        [7],
        "pretrain.model.vision_config.patch_size is too short; expected at least 2",
    ),
    (
        "backbones.mini-internvl.pretrain.image_processor.size",
        "42",
        "image_processor.size is '42'; expected a whole number or a mapping",
    ),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{key}={value}"[:60] for key, value, _ in BAD])
def test_a_fault_is_one_message_with_its_key(raw_config, key, value, message):
    with pytest.raises(SlqError) as caught:
        validate_config(changed(raw_config, key, value))
    assert str(caught.value).startswith("config: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_snakemake_prints_the_message_and_stops(pristine, tmp_path):
    message = "presets.mini.training.epoch is not a key here; did you"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"presets": {"mini": {"training": {"epoch": 3}}}}))
    answer = snakemake(pristine, "-n", "--cores", "1", "--configfile", str(tmp_path / "mine.yaml"))
    assert answer.returncode == 1
    assert answer.stdout.count(f"config: {message}") == 1
    assert "Traceback" not in answer.stdout
    assert len(answer.stdout.strip().splitlines()) == 4  # which files were read, the message, and where it was raised


def test_one_seed_stands_in_place_of_the_list(raw_config):
    several = {**raw_config, "seeds": [3, 0, 7]}
    assert seeds(validate_config(several)) == [3, 0, 7]
    assert seeds(validate_config({**several, "seed": 2})) == [2]
    assert seeds(validate_config({**raw_config, "seeds": ["3", "0"]})) == [3, 0], "as the command line's lists are read"
    for config in (several, {**several, "seed": 2}):
        assert job_settings.layout(config)["seeds"] == seeds(config)
    shown = [job_settings.queries_settings(several, "mini-internvl", name, "mini-coco") for name in METHODS]
    assert [one["seed"] for one in shown] == [0, 3, 3, 3]


def test_a_preset_may_have_seeds_of_its_own(raw_config):
    raw_config["presets"]["mine"] = {"extends": "mini", "seeds": [4, 5]}
    config = validate_config(raw_config | {"seeds": [1, 9], "preset": "mine"})
    assert seeds(config) == job_settings.layout(config)["seeds"] == [4, 5]
    assert seeds(config | {"preset": "mini"}) == [1, 9], "the list of all other presets"
    assert seeds(config | {"seed": 2}) == [2]
    prefer_given_seeds(config, {"preset": "mine"})
    assert seeds(config) == [4, 5]
    prefer_given_seeds(config, {"seeds": ["1", "9"]})
    assert seeds(config) == [1, 9]


@pytest.mark.parametrize("preset", ["mini", "paper", "paper-decisive"])
def test_all_presets_are_sound(raw_config, preset):
    assert active_preset(validate_config({**raw_config, "preset": preset})) == raw_config["presets"][preset]


def described(schema, path="config"):
    """Yield the path of every property of a schema that has no description."""
    if isinstance(schema, list):
        for part in schema:
            yield from described(part, path)
    if isinstance(schema, dict):
        for name, entry in schema.get("properties", {}).items():
            if "description" not in entry:
                yield f"{path}.{name}"
        for name in schema.keys() - CONDITIONS:
            yield from described(schema[name], f"{path}.{name}")


def keys(schema, conditional=False):
    """Yield the name of each key in a schema, and whether it is in a condition."""
    if isinstance(schema, list):
        for one in schema:
            yield from keys(one, conditional)
    if not isinstance(schema, dict):
        return
    for name, entry in schema.items():
        within = conditional or name in CONDITIONS
        if name in ("properties", "dependentSchemas"):
            yield from ((key, within) for key in entry)
            yield from keys(list(entry.values()), within)
        elif name == "dependentRequired":
            yield from ((key, True) for one, needs in entry.items() for key in (one, *needs))
        elif name == "required" and conditional:
            yield from ((key, True) for key in entry)
        else:
            yield from keys(entry, within)


def open_objects(schema, path="config"):
    """Yield the path of every object of a schema that accepts unknown keys."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "additionalProperties" not in schema:
            yield path
        for name, entry in schema.items():
            yield from open_objects(entry, f"{path}.{name}")


def whole_schema():
    """The schema of the file, with the parts that registries fill in: methods and kinds of baselines."""
    return fill_baseline_schema(fill_method_schema(yaml.safe_load(SCHEMA_FILE.read_text()), {}))


def test_the_schema_is_closed_and_explains_every_key():
    schema = whole_schema()
    assert list(described(schema)) == []
    # The kind of a baseline restricts its keys; transformers' own configurations have keys that differ by family.
    open_ones = [f"config.$defs.{name}" for name in ("baseline", "model", "network", "image_processor")]
    assert list(open_objects(schema)) == open_ones
    assert [name for name in list_kinds() if list(open_objects(dict(find_kind(name).schema)))] == []


def test_conditions_of_the_schema_speak_of_keys_that_there_are():
    """A condition on a misspelt key would never hold, and no message would tell."""
    schema = whole_schema()
    declared, spoken = ({name for name, inside in keys(schema) if inside is where} for where in (False, True))
    declared |= {name for kind in list_kinds() for name, inside in keys(dict(find_kind(kind).schema)) if not inside}
    assert spoken <= declared and {"queries", "table_variant", "ids_sha256", "from_listing", "readout"} <= spoken
    catalogues = re.findall(r"keyOf: ([^,} \n]+)", SCHEMA_FILE.read_text())
    assert len(catalogues) > 15
    for catalogue in set(catalogues):
        assert catalogue in schema["properties"] or (ROOT / catalogue).is_dir(), catalogue


def test_settings_of_a_run_prefer_the_backbones_own(raw_config):
    config = validate_config({**raw_config, "preset": "paper"})
    eight, one = (job_settings.train_settings(config, f"InternVL3-{size}", "slq") for size in ("8B", "1B"))
    assert eight["training"] == {**one["training"], "batch_size": 512}
    assert one["training"]["batch_size"] == 1024
    assert one["hyperparameters"]["queries"] == 20
    assert job_settings.train_settings(config, "InternVL3-1B", "base")["hyperparameters"] == {}


@pytest.mark.parametrize("what", ["scenes", "signs"])
def test_drawn_splits_do_not_overlap_and_use_every_scene_at_most_once(raw_config, what):
    config = validate_config(raw_config)
    taken = []
    for name, entry in config["datasets"].items():
        for split, count in entry.get("synthetic", {}).get(what, {}).items():
            slice_ = job_settings.synthetic_split_settings(config, name, split)
            assert slice_["count"] == count
            taken += range(slice_["first"], slice_["first"] + slice_["count"])
    assert taken
    assert sorted(taken) == list(range(len(taken)))


def test_settings_are_the_same_whatever_the_order_of_keys(raw_config):
    backwards = yaml.safe_load(yaml.safe_dump(raw_config, sort_keys=True))
    for slice_ in (job_settings.layout, job_settings.audit_settings):
        assert slice_(raw_config) == slice_(backwards)
    for backbone in raw_config["presets"]["mini"]["backbones"]:
        assert job_settings.pretrain_settings(raw_config, backbone) == job_settings.pretrain_settings(
            backwards, backbone
        )


def test_reading_the_configuration_loads_nothing_heavy():
    heavy = ["torch", "transformers", "numpy", "pandas", "PIL"]
    program = f"import sys, slq.config.job_settings; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT / "workflow", capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("benchmark", ["mmmu", "realworldqa", "ocrbench"])
def test_the_schema_knows_the_scorers_that_apply(benchmark):
    schema = yaml.safe_load(SCHEMA_FILE.read_text())
    named = schema["$defs"]["preset"]["properties"]["evaluation"]["properties"]["scorers"]["properties"]
    assert named[benchmark]["enum"] == [scorer.name for scorer in find_scorers(benchmark)]
    assert named.keys() == {name for scorer in SCORERS.values() for name in scorer.benchmarks}


def test_each_renamed_key_is_a_key_that_there_is(raw_config):
    """New names are in the schema, and no current key is taken for an old one."""
    folder = ROOT / "workflow/schemas"
    renamed = yaml.safe_load((folder / "renamed_keys.yaml").read_text())
    known = {*re.findall(r"(?:^|[{,]) *(\w+):", (folder / "config.schema.yaml").read_text(), re.MULTILINE)}
    known |= {name for name, _ in keys(whole_schema())}
    news = [new for one in renamed.values() for new in ([one] if isinstance(one, str) else one)]
    assert [new for new in news if new not in known] == []
