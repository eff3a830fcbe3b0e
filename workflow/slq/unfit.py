"""Classes of transformers that are laid out otherwise than a method needs: told when the configuration is read."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slq.errors import SlqError
from slq.files import read_json

Config = dict[str, Any]

NO_INNER = "it has no `model.model` without LM head"
TEXT_MODEL = "it calls its language model `text_model`, where full_ft and lora look for `language_model`"
FUSED = "it fuses `gate_proj` and `up_proj`, two of the seven maps that LoRA adapts"
IMAGES = "every call of it wants images, also one of a text or of queries"
RECURRENT = "some of its layers keep a state that cannot be put back once the queries have read a prefix"
# By `model_type`: what does not work on it, and why (docs/backbones.md).
UNFIT: Mapping[str, tuple[tuple[str, ...], str]] = {
    "blip-2": (("base", "full_ft", "lora", "slq"), NO_INNER),
    "instructblip": (("base", "full_ft", "lora", "slq"), NO_INNER),
    "llama4": (("base", "full_ft", "lora", "slq"), NO_INNER),
    "idefics": (("base", "full_ft", "lora", "slq"), IMAGES),
    "idefics2": (("full_ft", "lora"), TEXT_MODEL),
    "idefics3": (("full_ft", "lora"), TEXT_MODEL),
    "smolvlm": (("full_ft", "lora"), TEXT_MODEL),
    "glm4v": (("lora",), FUSED),
    "glm46v": (("lora",), FUSED),
    "qwen3_5": (("slq",), RECURRENT),
    "qwen3_5_moe": (("slq",), RECURRENT),
}


def check_fit(backbones: Config, presets: Config) -> None:
    """Refuse the methods of a preset that do not fit one of its backbones, as far as its class is known beforehand.

    Raises:
        SlqError: the first of them, with the reason and what works.
    """
    for name, entry in backbones.items():
        found = next((one for one in model_types(entry) if one in UNFIT), None)
        if found is None:
            continue
        unfit, why = UNFIT[found]
        if "base" in unfit:
            raise SlqError(
                f"config: backbones.{name} is of the class {found}, which fits no method: {why}; take another backbone "
                "(docs/backbones.md)"
            )
        for key, preset in presets.items():
            wrong = [method for method in preset["methods"] if method in unfit]
            if name in preset["backbones"] and wrong:
                fit = [method for method in ("base", "full_ft", "lora", "slq") if method not in unfit]
                raise SlqError(
                    f"config: presets.{key}.methods asks for {wrong[0]} on {name}, of the class {found}: {why}; "
                    f"expected {' and '.join(fit)} alone, e.g. in a preset of its own (docs/backbones.md)"
                )


def model_types(entry: Config) -> Iterator[str]:
    """What may name a backbone's class: its sizes, the model that is made, the folder's config.json, the adapter."""
    yield entry.get("architecture", {}).get("model_type", "")
    yield entry.get("pretrain", {}).get("model", {}).get("model_type", "")
    config = Path(entry.get("local", ""), "config.json")
    if "local" in entry and config.is_file():
        content = read_json(config)
        yield content.get("model_type", "") if isinstance(content, dict) else ""
    yield from (one for one in UNFIT if one.replace("-", "_") == entry["family"])
