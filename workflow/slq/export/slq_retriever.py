"""Exported retriever, as a module of sentence-transformers.

It needs only the files in its folder: the adapter of the backbone's family (slq_family, slq_adapter), the tokenisation
of a chat turn (slq_turn) and the conversion of images to RGB (slq_pictures). The slq package copies this file into
exports and never imports it.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from peft import PeftModel
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors import safe_open
from sentence_transformers.base.modality import infer_modality, is_message_dict
from sentence_transformers.base.modules import InputModule
from sentence_transformers.util import load_dir_path
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.image_utils import load_image

from .slq_adapter import FamilyAdapter
from .slq_family import ProcessedImage
from .slq_pictures import as_rgb
from .slq_turn import Prompt, TextTokenizer

RETRIEVER_FILE = "retriever.json"
ADAPTER_FILE = "adapter_model.safetensors"


class ExportedRetriever(InputModule):
    """Encoder of texts and images into embeddings that are not normalised.

    Every input is formatted as a user turn with the backbone's chat template. In an export of SLQ the template ends
    with N query tokens, and the embedding is the mean of their last hidden states. With other methods the embedding is
    the last hidden state of the last token.
    """

    def __init__(self, folder: Path, retriever_config: dict[str, Any], model: Any) -> None:
        """Load the tokenizer and the image processor for a loaded model.

        Args:
            folder: the export.
            retriever_config: content of retriever.json.
            model: the backbone without LM head, with the trained weights loaded.
        """
        super().__init__()
        self.folder = folder
        self.retriever_config = retriever_config
        self.model = model.eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.text_tokenizer = TextTokenizer(self.tokenizer)
        # Training used the PIL backend. The torchvision backend computes pixels that differ by up to 0.03, so PIL is
        # used even if torchvision is installed.
        self.family = FamilyAdapter(model.config, AutoImageProcessor.from_pretrained(folder, backend="pil"))

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        model_kwargs: dict[str, Any] | None = None,
        **_: Any,
    ) -> "ExportedRetriever":
        """Load an export; SentenceTransformer calls this method.

        Args:
            model_name_or_path: folder of the export, or its name on the hub.
            subfolder: subfolder of the export in that folder or repository.
            token: access token for the hub.
            cache_folder: folder in which the hub's files are cached.
            revision: revision of the export on the hub.
            local_files_only: whether to download nothing.
            init_defaults: ignored.
            model_kwargs: options for transformers; `{"base": FOLDER}` names a local copy of the base model.

        Raises:
            ValueError: the base model is not the one that the run was trained on, or the adapter does not fit it.
        """
        hub_options: dict[str, Any] = {
            "token": token,
            "cache_folder": cache_folder,
            "local_files_only": local_files_only,
        }
        export_path = load_dir_path(model_name_or_path, subfolder, revision=revision, **hub_options)
        if export_path is None:
            raise ValueError(f"{model_name_or_path}: neither a local folder nor a model on the hub")
        folder = Path(export_path)
        retriever_config = json.loads((folder / RETRIEVER_FILE).read_text(encoding="utf-8"))
        options = {"dtype": retriever_config["dtype"]} | (model_kwargs or {})
        base_override = options.pop("base", None)
        if base_override is not None:
            check_weights(Path(base_override), retriever_config["base"])
        base = base_override or find_base(folder, retriever_config["base"], **hub_options)
        return cls(folder, retriever_config, load_backbone(folder, Path(base), retriever_config["base"], options))

    @property
    def modalities(self) -> list[Any]:
        """Kinds of input that can be embedded."""
        return ["text", "image", ("image", "text"), "message"]

    def get_embedding_dimension(self) -> int:
        """Return the dimension of an embedding."""
        return self.retriever_config["dimension"]

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        """Build a left-padded batch from texts, images and messages in any mixture; `prompt` is prepended to texts."""
        turns = [self._message_parts(item, prompt or "") for item in inputs]
        num_embeddings = self.model.get_input_embeddings().weight.shape[0]
        rows = [self.text_tokenizer.tokenize_turn(self.family, parts, num_embeddings) for parts in turns]
        length = max(map(len, rows))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
        features = {"input_ids": ids, "attention_mask": mask, **self.family.extra_inputs(ids)}
        images = [part.tensors for parts in turns for part in parts if isinstance(part, ProcessedImage)]
        return features | {name: torch.cat([image[name] for image in images]) for name in (images or [{}])[0]}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Add `sentence_embedding` (batch, d), float32, not normalised, to the features.

        Raises:
            ValueError: an input needs more positions than the base model has.
        """
        dtype = self.model.dtype
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in features.items()}
        # Passed explicitly, because models differ in the default positions of a padded row.
        inputs["position_ids"] = self.family.compute_position_ids(self.model, inputs)
        if overflow := self.family.describe_overflow(inputs, self.tokenizer):
            raise ValueError(overflow)
        states = self.model(**inputs, use_cache=False).last_hidden_state
        return features | {"sentence_embedding": states[:, -self.retriever_config["read_out"] :].float().mean(1)}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Copy the export's folder; loading and using an export never changes it."""
        shutil.copytree(self.folder, output_path, dirs_exist_ok=True)

    def _message_parts(self, item: Any, prompt: str) -> list[Any]:
        """Build the parts of one input: its texts and processed images, then the instruction used in training.

        Args:
            item: a text, an image or a message.
            prompt: prefix of each text.
        """
        modality_inputs = split_by_modality(item, self.modalities)
        parts = [self._process_image(one) if kind == "image" else prompt + one for kind, one in modality_inputs]
        instruction = self.retriever_config["instruction"]["image" if "image" in dict(modality_inputs) else "text"]
        return [*parts, Prompt(instruction)] if instruction else parts

    def _process_image(self, image: Any) -> Any:
        """Open an image, if it is given as a path or URL, and preprocess it."""
        opened = image if isinstance(image, Image.Image) else load_image(image)
        return self.family.process(as_rgb(opened))


def split_by_modality(item: Any, modalities: list[Any]) -> list[tuple[Any, Any]]:
    """Split an input into pairs of modality and content.

    Args:
        item: a text, an image (or its path or URL), `{"image": …, "text": …}`, or one message of a user.
        modalities: the modalities that the retriever supports.
    """
    if isinstance(item, list):  # a conversation
        (item,) = item
    if is_message_dict(item):
        content = item["content"]
        return [("text", content)] if isinstance(content, str) else [(one["type"], one[one["type"]]) for one in content]
    if isinstance(item, dict):
        return sorted(item.items())  # the image first
    return [(infer_modality(item, modalities), item)]


def find_base(
    folder: Path,
    base_config: dict[str, Any],
    token: bool | str | None,
    cache_folder: str | None,
    local_files_only: bool,
) -> str | Path:
    """Find the base model: in the export, or on the hub at the commit that the run was trained on.

    Raises:
        ValueError: the base model is not on this machine and cannot be downloaded.
    """
    if "folder" in base_config:
        return folder / base_config["folder"]
    files = ["*.json", "*.safetensors"]
    hub_options: dict[str, Any] = {"token": token, "cache_dir": cache_folder, "local_files_only": local_files_only}
    try:
        return snapshot_download(
            base_config["model"], revision=base_config["revision"], allow_patterns=files, **hub_options
        )
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"the base model {base_config['model']} at revision {base_config['revision']} is not on this machine, and "
            "the hub cannot be reached: load the export once with network access, or name a local copy: "
            'model_kwargs={"base": "FOLDER"}'
        ) from error


def check_weights(folder: Path, base_config: dict[str, Any]) -> None:
    """Check by hash that a folder contains the weights that the run was trained on.

    Raises:
        ValueError: a file is missing or differs.
    """
    for name, expected in base_config["weights"].items():
        path = folder / name
        found = ""
        if path.is_file():
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            actual = f"sha256 {found[:12]}" if found else "not found"
            required_base = (
                f"{base_config['model']} at revision {base_config['revision']}"
                if "model" in base_config
                else "the base of this export"
            )
            raise ValueError(f"{path}: {actual}, expected sha256 {expected[:12]}: use {required_base}")


def load_backbone(folder: Path, base_folder: Path, base_config: dict[str, Any], options: dict[str, Any]) -> Any:
    """Load the backbone without LM head, with the trained weights.

    Raises:
        ValueError: the backbone lacks weights, or the adapter does not fit it.
    """
    model, info = AutoModel.from_pretrained(
        base_folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
    )
    if misfits := [*info["missing_keys"], *info["mismatched_keys"]]:
        raise ValueError(f"{base_folder}: missing weights, or weights of another shape: {misfits[:3]}")
    if not (folder / ADAPTER_FILE).exists():
        return model
    if base_config["rows_needed"] > base_config["rows"]:  # the base has no spare rows for the queries
        model.resize_token_embeddings(base_config["rows_needed"], mean_resizing=False)
    peft_model = PeftModel.from_pretrained(model, str(folder))
    with safe_open(folder / ADAPTER_FILE, "pt") as stored:
        if unexpected_tensors := set(stored.keys()) ^ set(
            get_peft_model_state_dict(peft_model, save_embedding_layers=False)
        ):
            raise ValueError(f"{folder / ADAPTER_FILE}: missing or unexpected tensors {sorted(unexpected_tensors)[:3]}")
    # Merging makes the queries rows of the embedding matrix. Without it, PEFT copies the whole matrix at every call.
    merge = peft_model.peft_config["default"].peft_type == "TRAINABLE_TOKENS"
    return peft_model.merge_and_unload() if merge else peft_model.get_base_model()
