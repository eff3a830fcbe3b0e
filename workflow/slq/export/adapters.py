"""Conversion of a run's trained weights to PEFT's format.

`PeftModel.from_pretrained` loads the result onto the base model without its LM head.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, TrainableTokensConfig
from sentence_transformers.base.modules import Dense
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer

from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json
from slq.common.tensors import read_tensors, write_tensors
from slq.export.trained_run import TrainedRun
from slq.methods.adapter import ADAPTER_WEIGHTS, load_retriever
from slq.models.backbone import Backbone, save_part, wrap_transformers_errors

BASE_FOLDER = "base"  # subfolder of an export with a base model that is not on the hub
PEFT_KEY_PREFIX = "base_model.model."  # prefix of every tensor name in PEFT's files


@dataclass(frozen=True)
class BaseModelInfo:
    """Description of the base model in an export, with the hashes of the weights that the run was trained on.

    Attributes:
        model, revision: name and commit on the hub; None for a backbone that is not on the hub.
        weights_sha256: SHA-256 of each safetensors file of the backbone, by file name.
        embedding_name: name of the token embedding in the model without LM head.
        embedding_rows, embedding_dim: shape of the embedding matrix.
        embedding_scale: factor by which the model multiplies each embedding; Gemma, for example, has one.
    """

    model: str | None
    revision: str | None
    weights_sha256: dict[str, str]
    embedding_name: str
    embedding_rows: int
    embedding_dim: int
    embedding_scale: float = 1.0


def read_base_info(snapshot: Path) -> tuple[BaseModelInfo, Any]:
    """Describe a backbone from its manifest and configuration, without reading weights, and load its tokenizer."""
    manifest = read_json(snapshot / "manifest.json")
    weights = {name: sha256 for name, sha256 in manifest["files"].items() if name.endswith(".safetensors")}
    subject = f"{snapshot}: expected the config.json and the tokenizer of the backbone"
    with wrap_transformers_errors(subject, "fetch or make the backbone again"):
        config = AutoConfig.from_pretrained(snapshot, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(snapshot, local_files_only=True, padding_side="left")
    with torch.device("meta"):
        skeleton = AutoModel.from_config(config)
    embedding = skeleton.get_input_embeddings()
    name = next(name for name, module in skeleton.named_modules() if module is embedding)
    # On the meta device the buffer of the scale has no value, so the number is read from this attribute.
    scale = float(getattr(embedding, "scalar_embed_scale", 1.0))
    rows, width = embedding.weight.shape
    return BaseModelInfo(*_hub_name_and_commit(manifest["source"]), weights, name, rows, width, scale), tokenizer


def _hub_name_and_commit(source: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return a model's name and commit on the hub; None and None if it is not from the hub (slq.sources.fetch)."""
    for part in source.get("parts", []):
        kind, _, location = part["from"].partition(":")
        if kind == "model":
            return location.rpartition("@")[0], part["commit"]
    return None, None


def add_query_tokens(tokenizer: Any, count: int) -> list[int]:
    """Add query tokens to a tokenizer and to the end of its chat template; return their ids in ascending order.

    Any tool that applies the chat template then appends the query tokens to the prompt.

    Args:
        tokenizer: a tokenizer with exactly one chat template and no query tokens yet; it is changed in place.
        count: number of query tokens.
    """
    names = [f"<|query_{number}|>" for number in range(count)]
    tokenizer_path = tokenizer.name_or_path
    if taken := set(names) & set(tokenizer.get_vocab()):
        raise SlqError(
            f"{tokenizer_path}: the tokenizer already has tokens named {min(taken)}; expected a base without them"
        )
    if not isinstance(tokenizer.chat_template, str):
        raise SlqError(f"{tokenizer_path}: expected one chat template, found {type(tokenizer.chat_template).__name__}")
    tokenizer.add_tokens(names, special_tokens=True)
    tokenizer.chat_template += f"{{% if add_generation_prompt %}}{''.join(names)}{{% endif %}}"
    token_ids: list[int] = tokenizer.convert_tokens_to_ids(names)
    return token_ids


class ExportFolder:
    """Export folder of a run, into which the run's method writes its weights (`slq.methods.registry.ExportTarget`).

    Attributes:
        read_out: number of positions at the end of the prompt whose hidden states are averaged into the embedding.
        rows_needed: number of rows of the embedding matrix that the export needs.
        weights_sha256: SHA-256 of the safetensors files that are loaded as the base, by file name.
        base_location: location of these files: on the hub, in BASE_FOLDER, or in the export itself.
        modules: classes of the modules that sentence-transformers applies to the read-out in turn, by folder.
    """

    def __init__(self, run: TrainedRun, base: BaseModelInfo, tokenizer: Any, folder: Path) -> None:
        """Begin with an export of the base model, without trained weights."""
        self.run, self.base, self.tokenizer, self.folder = run, base, tokenizer, folder
        self.read_out, self.rows_needed, self.weights_sha256 = 1, base.embedding_rows, base.weights_sha256
        self.modules: dict[str, str] = {}
        self.base_location: dict[str, Any] = {"folder": BASE_FOLDER}
        if base.model:
            self.base_location = {"model": base.model, "revision": base.revision}

    def write_query_tokens(self, count: int) -> None:
        """Write queries (count, d), float32, as PEFT's TRAINABLE_TOKENS at the end of the chat template.

        A retriever appends its queries without scaling, but a model multiplies the embeddings of its tokens by
        `embedding_scale`. The queries are therefore divided by this scale, rounded to the model's precision.
        """
        token_ids = add_query_tokens(self.tokenizer, count)
        path, tensors = self._read_tensors()
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {"queries": (count, self.base.embedding_dim)}:
            raise SlqError(f"{path}: found tensors {shapes}, expected queries {count} x {self.base.embedding_dim}")
        peft_tensors = {f"{self.base.embedding_name}.trainable_tokens_delta": self._as_tokens(tensors["queries"])}
        self._write_peft_files(TrainableTokensConfig(token_indices=token_ids), peft_tensors)
        self._read_out_tokens(token_ids)

    def write_peft_adapter(self, config: Any) -> None:
        """Write the trained tensors under their names in the model without LM head.

        A run stores them under their names in the model with LM head.
        """
        _, tensors = self._read_tensors()
        queries = tensors.pop("queries", None)
        peft_tensors = {
            re.sub(r"\.default(?=\.|$)", "", name.removeprefix("model.")): one for name, one in tensors.items()
        }
        if queries is not None:
            config.trainable_token_indices = add_query_tokens(self.tokenizer, len(queries))
            name = f"{self.base.embedding_name}.token_adapter.trainable_tokens_delta"
            peft_tensors[name] = self._as_tokens(queries)
            self._read_out_tokens(config.trainable_token_indices)
        self._write_peft_files(config, peft_tensors)

    def write_linear_head(self) -> None:
        """Write the map as a Dense module of sentence-transformers, float32, which is applied to the read-out."""
        _, tensors = self._read_tensors()
        width = self.base.embedding_dim
        head = Dense(width, width, bias=False, activation_function=None, init_weight=tensors["head"].float())
        (self.folder / "1_Dense").mkdir()
        head.save(str(self.folder / "1_Dense"))
        self.modules["1_Dense"] = "sentence_transformers.base.modules.Dense"

    def write_model(self) -> None:
        """Write the whole model, with the run's weights instead of the base's."""
        backbone = Backbone.load(self.run.snapshot, self.run.settings["family"], self.run.settings["dtype"])
        load_retriever(backbone, self.run.adapter_folder, self.run.adapter_record["backbone_sha256"])
        save_part(backbone.model, self.folder)
        self.weights_sha256 = {path.name: hash_file(path) for path in self.folder.glob("*.safetensors")}
        self.base_location = {"folder": "."}

    def _as_tokens(self, queries: Tensor) -> Tensor:
        """Return the embeddings of tokens that stand for queries (N, d) (`write_query_tokens`)."""
        precision = getattr(torch, self.run.settings["dtype"])
        return queries / torch.tensor(self.base.embedding_scale, dtype=precision).to(queries.dtype)

    def _read_out_tokens(self, token_ids: list[int]) -> None:
        """Let the read-out be the mean over the given tokens, the last of the chat template."""
        self.read_out, self.rows_needed = len(token_ids), max(self.base.embedding_rows, token_ids[-1] + 1)

    def _read_tensors(self) -> tuple[Path, dict[str, Tensor]]:
        """Return the file of the run's trained tensors, and the tensors."""
        path = self.run.adapter_folder / ADAPTER_WEIGHTS
        return path, read_tensors(path, "train it again")

    def _write_peft_files(self, config: PeftConfig, tensors: dict[str, Tensor]) -> None:
        """Write PEFT's configuration and weights."""
        config.base_model_name_or_path, config.revision = self.base.model or BASE_FOLDER, self.base.revision
        config.inference_mode = True
        config.save_pretrained(str(self.folder))
        prefixed_tensors = {PEFT_KEY_PREFIX + name: tensor for name, tensor in tensors.items()}
        write_tensors(self.folder / "adapter_model.safetensors", prefixed_tensors, {"format": "pt"})
