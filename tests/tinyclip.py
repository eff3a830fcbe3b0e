"""A tiny public encoder of the real class: CLIP."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def set_apart(model: torch.nn.Module, times: float) -> None:
    """Scale the weights, so that images and texts have clearly different vectors."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight") and parameter.dim() > 1:
                parameter.mul_(times)


def make_clip(folder: Path) -> Path:
    """Write a tiny random CLIP as released, with a byte-level tokenizer and weights that still contain position ids."""
    symbols = [chr(code) for code in range(33, 127)]
    words = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    ids = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": 77, **ids}
    vision = {**TOWER, "image_size": 56, "patch_size": 14}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    set_apart(model, 6)
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights |= {f"{tower}_model.embeddings.position_ids": torch.arange(77)[None] for tower in ("text", "vision")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    pixels = {
        "do_resize": True,
        "size": 56,
        "resample": 3,
        "do_center_crop": True,
        "crop_size": 56,
        "do_normalize": True,
    }
    pixels |= {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**pixels, "feature_extractor_type": "CLIPFeatureExtractor"})
    )
    return folder
