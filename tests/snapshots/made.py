"""Snapshots with random weights: a hub snapshot's small files, few layers, and weights under the names of the hub."""

import json
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText, CLIPModel

from slq.common.snapshots import write_manifest

# By how much a language model's width, heads and MLP are divided, where memory demands it.
DIVISORS = {"InternVL3-8B": 4, "Qwen3-VL-2B": 4, "Qwen3-VL-4B": 4, "VLM2Vec": 8, "E5-V": 8}
MISTRAL = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336}
# Names in the released files of models that were saved before transformers 5; Qwen3-VL's are the class's own.
OLD_NAMES = [
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.(vision_tower|multi_modal_projector|image_newline)", r"\1"),
]


def shrink(config: dict, layers: int, divisor: int) -> dict:
    """A configuration of few layers; a width of the language model that is divided keeps the heads' size."""
    text, vision = config["text_config"], config["vision_config"]
    if text.get("model_type") in ("mistral", "llama"):
        text |= {key: text.get(key, value) for key, value in MISTRAL.items()}
    head_dim = text.get("head_dim", text["hidden_size"] // text["num_attention_heads"])
    for key in MISTRAL:
        text[key] //= divisor
    text |= {"num_hidden_layers": layers} | ({"head_dim": head_dim} if "head_dim" in text else {})
    if "depth" in vision:
        vision |= {"depth": 3, "deepstack_visual_indexes": [0, 1, 2], "out_hidden_size": text["hidden_size"]}
    else:
        vision["num_hidden_layers"] = 3
    return config


def build(folder: Path, seed: int = 1) -> torch.nn.Module:
    """A random model of a snapshot's configuration, in which images matter, and whose head is its own where it was."""
    config = AutoConfig.from_pretrained(folder)
    raw = json.loads((folder / "config.json").read_text())
    torch.manual_seed(seed)
    if raw["model_type"] == "clip":
        return CLIPModel._from_config(config).eval()
    model = AutoModelForImageTextToText.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "vision" in name and weight.dim() > 1 and weight.std() < 1e-3:  # InternViT's initial values
                weight.normal_(0, 0.02)
        if not raw.get("tie_word_embeddings", False):
            model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight) * 0.02)
    return model


def state_of_the_hub(model: torch.nn.Module, model_type: str) -> dict[str, torch.Tensor]:
    """Its weights as the released files name them."""
    state = dict(model.state_dict())
    if model_type == "qwen3_vl":
        del state["lm_head.weight"]
    if model_type in ("internvl", "llava_next"):
        for pattern, name in OLD_NAMES:
            state = {re.sub(pattern, name, key): tensor for key, tensor in state.items()}
    if model_type == "llava_next":
        state = {re.sub(r"^vision_tower\.", "vision_tower.vision_model.", key): one for key, one in state.items()}
    if model_type == "clip":
        state |= {"text_model.embeddings.position_ids": torch.arange(77)[None]}
        state |= {"vision_model.embeddings.position_ids": torch.arange(50)[None]}
    return {key: tensor.contiguous() for key, tensor in state.items()}


def make(small: Path, out: Path, divisor: int | None = None, layers: int = 2) -> Path:
    """The snapshot's small files with random float32 weights in `out`, as fetching leaves it."""
    out.mkdir(parents=True)
    for path in small.iterdir():
        if path.suffix in (".json", ".jinja", ".txt", ".model"):
            shutil.copyfile(path, out / path.name)
    config = json.loads((out / "config.json").read_text())
    if config["model_type"] != "clip":
        config = shrink(config, layers, divisor or DIVISORS.get(small.name, 1))
        (out / "config.json").write_text(json.dumps(config))
    (out / "manifest.json").unlink(missing_ok=True)
    (out / "model.safetensors.index.json").unlink(missing_ok=True)
    state = state_of_the_hub(build(out), config["model_type"])
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    write_manifest(out, {"name": small.name})
    return out
