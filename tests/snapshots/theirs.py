"""transformers' own processors of a snapshot, as its model card calls them: the oracle of tokens and pixels."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

# AutoProcessor loads their video processors too, for which transformers wants torchvision.
WITH_VIDEO = {"internvl": InternVLProcessor, "qwen3_vl": Qwen3VLProcessor}


class NoVideo:
    """In place of a video processor."""

    merge_size = 2
    model_input_names: tuple = ()


def their_processor(folder: Path, family: str) -> Any:
    """The snapshot's processor, with Pillow's resizing."""
    if family not in WITH_VIDEO:
        return AutoProcessor.from_pretrained(folder, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    parts = {"image_processor": processor, "tokenizer": tokenizer, "video_processor": NoVideo()}

    class Processor(WITH_VIDEO[family]):
        def check_argument_for_proper_class(self, name: str, argument: Any) -> type:
            return type(argument)

    return Processor(**parts, chat_template=tokenizer.chat_template)


def their_inputs(processor: Any, parts: list[str | Image.Image], template: str | None = None, **images: Any) -> dict:
    """Ids and pixels of a user turn, by the snapshot's chat template or by one that stands in place of it."""
    pictures = [part for part in parts if isinstance(part, Image.Image)]
    if template is None:
        content = [{"type": "text", "text": one} if isinstance(one, str) else {"type": "image"} for one in parts]
        turn = [{"role": "user", "content": content}]
        text = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    else:
        text = template.replace("{turn}", "".join(one if isinstance(one, str) else "<image>" for one in parts))
    options = {"images_kwargs": images} if images and pictures else {}
    return processor(text=[text], images=pictures or None, return_tensors="pt", **options)


def same_pixels(ours: dict[str, torch.Tensor], theirs: dict) -> None:
    """Every tensor of ours is theirs; LLaVA-NeXT's tiles are in one axis more there."""
    for name, tensor in ours.items():
        found = theirs[name]
        found = found[0] if found.dim() > tensor.dim() else found
        assert torch.equal(tensor, found), name
