"""A tiny public encoder of the real class: BLIP as released for retrieval."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import BertTokenizer, BlipConfig, BlipForImageTextRetrieval, BlipImageProcessorPil

from tinyclip import TOWER, set_apart

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]"]


def make_blip(folder: Path) -> Path:
    """Write a tiny random BLIP with a BERT tokenizer of single letters and weights that still contain position ids."""
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    ids = {"pad_token_id": 0, "bos_token_id": 5, "sep_token_id": 3, "eos_token_id": 3}
    text = {**TOWER, "vocab_size": len(words), "max_position_embeddings": 64, **ids}
    vision = {**TOWER, "image_size": 56, "patch_size": 14, "initializer_range": 0.02}
    torch.manual_seed(0)
    model = BlipForImageTextRetrieval(BlipConfig(text_config=text, vision_config=vision, image_text_hidden_size=16))
    set_apart(model, 10)
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    weights["text_encoder.embeddings.position_ids"] = torch.arange(64)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    BlipImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(folder)
    return folder
