"""Checks of a model's configuration, tokenizer and image processor, for which its weights are not needed."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, GenerationConfig

from slq.baselines.registry import find_baselines
from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.config.job_settings import fetch_settings
from slq.config.loading import Config, active_preset
from slq.config.runs import method_entry
from slq.cost.architecture import read_architecture
from slq.methods.adapter import build_retriever
from slq.models.backbone import Backbone, load_part, load_processors, wrap_transformers_errors
from slq.models.dual_encoder import DualEncoder, find_encoder_class
from slq.models.families import load_family
from slq.models.turn import BRACKETED, ContentPart, Prompt, UnusableTurnError
from slq.preflight.checks import ERROR, OK, Finding
from slq.sources.fetch import fetch_source
from slq.sources.listing import list_fetched_sources

ADVICE = "take the revision that config.yaml was written for, or mend the entry there"
CHECK_TEXT = "a red circle on the left of a blue square"
CHECK_SIZES = ((640, 480), (333, 500))  # width, height
FORECAST_PIXELS = 640 * 480
MAX_RELATIVE_ERROR = 0.005  # of closed forms, which leave out biases and norms
MAX_GB_ERROR = 0.1  # sizes in config.yaml are rounded


@dataclass(frozen=True)
class SmallFiles:
    """A backbone or dual encoder as its small files describe it; the model has no storage.

    Attributes:
        config: the whole configuration, for one preset.
        name: the entry of `backbones` or `encoders`.
        entry: its content.
        folder: where the files are.
    """

    config: Config
    name: str
    entry: Config
    folder: Path

    def build_backbone(self, processors: tuple[Any, Any] | None = None) -> Backbone:
        """Build the backbone on the meta device.

        Args:
            processors: its image processor and tokenizer, if they are loaded already.
        """
        processor, tokenizer = processors or load_processors(self.folder)
        model_config = load_part(AutoConfig, self.folder)
        with wrap_transformers_errors(str(self.folder), ADVICE), torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(model_config)
        return Backbone(model, tokenizer, load_family(self.entry["family"], model.config, processor))

    def build_encoder(self) -> DualEncoder:
        """Build the dual encoder on the meta device."""
        encoder_class = find_encoder_class(read_json(self.folder / "config.json").get("model_type"), self.folder)
        processor, tokenizer = load_processors(self.folder)
        with wrap_transformers_errors(str(self.folder), ADVICE), torch.device("meta"):
            model = encoder_class.model_class._from_config(load_part(AutoConfig, self.folder))
        return encoder_class(model, tokenizer, processor)


Check = Callable[[SmallFiles, Any], str]  # takes the files and the model; returns what was found, or raises SlqError


def check_architecture(files: SmallFiles, backbone: Backbone) -> str:
    """Check that every size of the entry's `architecture` is the snapshot's."""
    sizes = dict(_flatten(files.entry.get("architecture", {})))
    found = dict(_flatten(backbone.model.config.to_dict()))
    raw = dict(_flatten(read_json(files.folder / "config.json")))
    for key, size in sizes.items():
        # The file's own value comes first: a class may change it, such as a tied head.
        if raw.get(key, found.get(key)) != size:
            raise SlqError(
                f"{files.folder}/config.json: {key} is {raw.get(key, found.get(key))!r}, and "
                f"backbones.{files.name}.architecture has {size!r}"
            )
    return f"{len(sizes)} sizes as in config.yaml" if sizes else ""


def check_size(files: SmallFiles, model: Any) -> str:
    """Check that the model has as many weights as the forecast counts, and as many GB as the source has."""
    network = model.model
    number = sum(weight.numel() for weight in network.parameters())
    architecture = read_architecture(files.entry["architecture"]) if "architecture" in files.entry else None
    if architecture and network.lm_head.weight is network.get_input_embeddings().weight:
        number += architecture.head_parameters  # the class ties a head that the weights have of its own
    if architecture and abs(architecture.num_parameters / number - 1) > MAX_RELATIVE_ERROR:
        raise SlqError(f"{files.folder}: {number:,} weights, and the forecast counts {architecture.num_parameters:,}")
    raw = read_json(files.folder / "config.json")  # a model built from it has the default dtype
    named = [part.get(key) for part in (raw, raw.get("text_config", {})) for key in ("dtype", "torch_dtype")]
    dtype = getattr(torch, next(filter(None, named), "float32"))
    gb, expected = number * dtype.itemsize / 1e9, _listed_gb(files)
    if expected is not None and abs(gb - expected) > MAX_GB_ERROR:
        raise SlqError(
            f"{files.folder}: {number:,} weights in {dtype} are {gb:.1f} GB, and the source has gb: {expected}"
        )
    return f"{number / 1e6:,.1f} M weights, {gb:.1f} GB"


def check_trained_weights(files: SmallFiles, backbone: Backbone) -> str:
    """Check that each method of the preset trains as many weights as the forecast counts."""
    preset = active_preset(files.config)
    if files.name not in preset["backbones"] or "architecture" not in files.entry:
        return ""
    text, numbers = read_architecture(files.entry["architecture"]).text, []
    for name in preset["methods"]:
        entry = method_entry(preset, name)
        if not entry.method.trains:
            continue
        fresh = files.build_backbone((backbone.family.image_processor, backbone.tokenizer))
        retriever = build_retriever(entry.method.name, fresh, entry.hyperparameters, seed=0)
        number = sum(weight.numel() for weight in retriever.trainable_parameters())
        expected = entry.method.plan(entry.hyperparameters, text).num_trainable
        if abs(number - expected) > MAX_RELATIVE_ERROR * expected:
            raise SlqError(f"{files.folder}: {name} trains {number:,} weights, and the forecast counts {expected:,}")
        numbers.append(f"{name} {number:,}")
    return f"trained weights: {', '.join(numbers)}"


def check_image_tokens(files: SmallFiles, backbone: Backbone) -> str:
    """Check that a turn with an image has as many image tokens as the image, and the forecast's number."""
    images = [Image.radial_gradient("L").resize(size).convert("RGB") for size in CHECK_SIZES]
    counts = []
    for size, image in zip(CHECK_SIZES, images, strict=True):
        processed = backbone.family.process(image)
        if backbone.tokenizer.chat_template:
            _tokenize(files, backbone, (processed, CHECK_TEXT))
        counts.append(processed.num_tokens)
        if "architecture" in files.entry and size[0] * size[1] == FORECAST_PIXELS:
            expected = read_architecture(files.entry["architecture"]).count_image_tokens(FORECAST_PIXELS)
            if processed.num_tokens != expected:
                raise SlqError(
                    f"{files.folder}: an image of {size[0]} x {size[1]} has {processed.num_tokens} tokens, and the "
                    f"forecast counts {expected:g}"
                )
    sizes = ", ".join(
        f"{count} of {width} x {height}" for count, (width, height) in zip(counts, CHECK_SIZES, strict=True)
    )
    return f"image tokens: {sizes}"


def check_chat_template(files: SmallFiles, backbone: Backbone) -> str:
    """Check that the chat template writes a text as it is, and opens the answer."""
    if not backbone.tokenizer.chat_template:
        if files.name in active_preset(files.config)["backbones"]:
            raise SlqError(f"{files.folder}: the tokenizer has no chat template, which every method needs")
        return ""
    turn = backbone.text_tokenizer.render_turn(backbone.family, (CHECK_TEXT,))
    if turn.count(CHECK_TEXT) != 1 or turn.endswith(CHECK_TEXT):
        raise SlqError(f"{files.folder}: the chat template renders {CHECK_TEXT!r} as {turn!r}")
    return f"chat template: {len(_tokenize(files, backbone, ('',)))} tokens around a text"


def check_control_tokens(files: SmallFiles, backbone: Backbone) -> str:
    """Check that no control token is found in a user's text that spells all of them."""
    added = backbone.tokenizer.added_tokens_decoder.values()
    names = [token.content for token in added if token.special or BRACKETED.fullmatch(token.content)]
    template = None if backbone.tokenizer.chat_template else "{turn}"
    ids = {name: backbone.tokenizer.convert_tokens_to_ids(name) for name in names}
    around = set(_tokenize(files, backbone, ("",), template))
    spelled = set(_tokenize(files, backbone, (" ".join(names),), template))
    if found := [name for name, number in ids.items() if number in spelled - around]:
        raise SlqError(f"{files.folder}: the control token {found[0]!r} is found in a user's text")
    without_row = [name for name, number in ids.items() if number >= backbone.num_embeddings]
    return f"{len(names)} control tokens" + (f" ({', '.join(without_row)} without embedding)" if without_row else "")


def check_generation(files: SmallFiles, backbone: Backbone) -> str:
    """Check that the generation's end token is one of the tokenizer; sampling defaults are named and never used."""
    if not (files.folder / "generation_config.json").exists():
        raise SlqError(f"{files.folder}: no generation_config.json, which says what ends a reply")
    settings = load_part(GenerationConfig, files.folder)
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    if backbone.tokenizer.eos_token_id not in ends:
        raise SlqError(
            f"{files.folder}/generation_config.json: eos_token_id is {settings.eos_token_id}, and the tokenizer's "
            f"{backbone.tokenizer.eos_token!r} is {backbone.tokenizer.eos_token_id}"
        )
    return "answers are greedy" + (", although the snapshot's default samples" if settings.do_sample else "")


def check_readouts(files: SmallFiles, backbone: Backbone) -> str:
    """Check that the turns of the preset's read-outs of this backbone can be tokenized, with the first token."""
    names = readouts_of(files.config, files.name)
    image = backbone.family.process(Image.new("RGB", CHECK_SIZES[0]))
    for name in names:
        readout = files.config["readouts"][name]
        for instructions in readout["instructions"].values():
            before, after = map(Prompt, instructions["image"].split("{image}"))
            turns: list[tuple[ContentPart, ...]] = [(Prompt(instructions["text"], "{text}", CHECK_TEXT),)]
            turns.append(tuple(part for part in (before, image, after) if part != Prompt("")))
            for turn in turns:
                _tokenize(files, backbone, turn, readout.get("template"))
    check_first_tokens(files.folder, {name: files.config["readouts"][name].get("template") for name in names})
    return f"read-outs {', '.join(names)}" if names else ""


def check_text_length(files: SmallFiles, encoder: DualEncoder) -> str:
    """Check that a long text is truncated to the encoder's length, and still closed."""
    ids = encoder.text_tokenizer.encode([CHECK_TEXT * 99, CHECK_TEXT], max_length=encoder.max_text_tokens)
    if len(ids[0]) != encoder.max_text_tokens or ids[0][0] != ids[1][0] or ids[0][-1] != ids[1][-1]:
        raise SlqError(f"{files.folder}: a long text has {len(ids[0])} tokens, expected {encoder.max_text_tokens}")
    return f"texts of {encoder.max_text_tokens} tokens"


def check_pixels(files: SmallFiles, encoder: DualEncoder) -> str:
    """Check that images are processed to the size that the image tower takes."""
    images = [Image.new("RGB", size) for size in CHECK_SIZES]
    shape = tuple(encoder.image_processor(images=images, return_tensors="pt")["pixel_values"].shape)
    side = encoder.model.config.vision_config.image_size
    if shape != (len(images), 3, side, side):
        raise SlqError(f"{files.folder}: images are processed to {shape}, and the tower takes {side} x {side}")
    return f"images of {side} x {side}"


def check_first_tokens(folder: Path, templates: Mapping[str, str | None]) -> None:
    """Check that read-out templates, which replace the chat template, are tokenized with the tokenizer's first token.

    Released models such as E5-V were trained with it; a tokenizer that no longer adds it gives other vectors silently.

    Args:
        folder: the model's small files.
        templates: the templates by read-out; None for one that uses the chat template.
    """
    tokenizer = load_part(AutoTokenizer, folder)
    for name, template in templates.items():
        first = tokenizer.bos_token_id
        if template is None or first is None:
            continue
        ids = tokenizer(template.replace("{turn}", CHECK_TEXT))["input_ids"]
        if ids[:1] != [first] or ids[:2] == [first, first]:
            raise SlqError(
                f"{folder}: the template of the read-out {name} is tokenized to {ids[:3]}..., expected the "
                f"tokenizer's first token {tokenizer.bos_token!r} ({first}) once and in front; the model was trained "
                "with it: take the tokenizer that belongs to the weights (tokenizer.json, post_processor)"
            )


BACKBONE_CHECKS: tuple[Check, ...] = (
    check_architecture,
    check_size,
    check_trained_weights,
    check_image_tokens,
    check_chat_template,
    check_control_tokens,
    check_generation,
    check_readouts,
)
ENCODER_CHECKS: tuple[Check, ...] = (check_size, check_text_length, check_pixels)


def check_small_files(config: Config, catalogue: str, name: str, folder: Path) -> Iterator[Finding]:
    """Run all checks of a backbone or dual encoder: a finding for each that failed, and one for all that passed.

    Args:
        config: the configuration, for one preset.
        catalogue: `backbones` or `encoders`.
        name: the entry of the catalogue.
        folder: the folder of the files.
    """
    files, passed = SmallFiles(config, name, config[catalogue][name], folder), []
    try:
        model = files.build_backbone() if catalogue == "backbones" else files.build_encoder()
    except SlqError as error:
        yield Finding(ERROR, name, str(error), ADVICE)
        return
    for check in BACKBONE_CHECKS if catalogue == "backbones" else ENCODER_CHECKS:
        try:
            passed.append(check(files, model))
        except SlqError as error:
            yield Finding(ERROR, name, str(error), ADVICE)
    yield Finding(OK, name, "; ".join(filter(None, passed)))


def fetch_and_check(config: Config, locks: Path) -> Iterator[Finding]:
    """Fetch the small files of every model of the preset into `<scratch>/small`, and check them.

    Args:
        config: the configuration, for one preset.
        locks: the folder of the locks, which say what a repository's files were at the first fetch.
    """
    for place, _ in list_fetched_sources(config, config["preset"]):
        catalogue, _, name = place.partition("/")
        if catalogue == "sources":
            continue
        folder = Path(config["scratch"]) / "small" / name
        settings = fetch_settings(config, catalogue, name, lambda part: "")
        try:
            fetch_source(settings | {"weights": False, "small": True}, folder, locks)
        except SlqError as error:
            yield Finding(ERROR, name, str(error))
        else:
            yield from check_small_files(config, catalogue, name, folder)


def readouts_of(config: Config, backbone: str) -> list[str]:
    """List the read-outs that the preset's baselines use on a backbone."""
    entries = [entry for _, entry in find_baselines(config).values()]
    return list(dict.fromkeys(e["readout"] for e in entries if e.get("backbone") == backbone and "readout" in e))


def _tokenize(
    files: SmallFiles, backbone: Backbone, parts: tuple[ContentPart, ...], template: str | None = None
) -> list[int]:
    """Tokenize a turn.

    Raises:
        SlqError: it has a token without embedding, or other image tokens than its images.
    """
    try:
        return backbone.text_tokenizer.tokenize_turn(backbone.family, parts, backbone.num_embeddings, template)
    except UnusableTurnError as error:
        raise SlqError(f"{files.folder}: {error}") from error


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by their dotted keys; lists and tuples are equal."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.loads(json.dumps(value, default=str))


def _listed_gb(files: SmallFiles) -> float | None:
    """Return the GB that the entry's source lists; None if it has no source."""
    if "source" not in files.entry:
        return None
    parts: list[dict[str, Any]] = files.config["sources"][files.entry["source"]]["parts"]
    return sum(part["gb"] for part in parts)
