"""The methods by name: `slq/methods/<name>.py` defines one, as a subclass of `Method`. None is imported until asked.

A method's file is cheap to import, because the configuration, the cost and the Snakefile ask methods too: torch, PEFT
and the models are imported inside `build` and `export`. docs/methods.md has a complete example.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from pkgutil import iter_modules
from typing import Any, ClassVar, Protocol

from slq.common.errors import SlqError
from slq.common.registry import find_class
from slq.methods.plan import ComputePlan

BASE = "base"  # the untouched backbone: the one method that trains nothing
NO_METHODS = ("registry", "plan", "adapter")  # modules of this folder that define no method


class ExportTarget(Protocol):
    """Interface of an export folder, for what a method trained; `slq.export.adapters` writes it."""

    def write_peft_adapter(self, config: Any) -> None:
        """Write the run's tensors as an adapter of PEFT, with its `PeftConfig`."""
        ...

    def write_query_tokens(self, count: int) -> None:
        """Write the run's queries as the embeddings of tokens at the end of the chat template, and read these out."""
        ...

    def write_model(self) -> None:
        """Write the whole model with the run's weights in place of the base's."""
        ...


class Method(ABC):
    """Training method: what of a backbone is trained, and how it is read out; no part has a default.

    Attributes:
        name: the name of its file, and of its folders and entries.
        label: its name in tables and figures.
        color: its colour in figures, `#rrggbb`, to be told from the others by colour-blind readers too.
        schema: JSON schema of its entry of `hyperparameters` in config.yaml, by `hyperparameters_schema`. It may refer
            to the definitions of workflow/schemas/config.schema.yaml.
        changes_backbone: whether generated answers may change. If not, they are base's, which a check confirms.
        image_caches: the values of `training.image_cache` that it can be trained with; of `none`, `features`, `batch`
            and `kv`. The last two keep a whole prefix, in which then nothing may be trained.
        card_description: sentences about its vectors on the model card of an export. `{read_out}` stands for the number
            of positions that are read out, `{trainable}` for the number of trained parameters.
        card_prompt_end: what an export's chat template ends with, in words.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    color: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]
    changes_backbone: ClassVar[bool]
    image_caches: ClassVar[tuple[str, ...]]
    # What cards say of methods that read out the last token; of a class of this package no `card…` counts as code.
    card_of_last_token = (
        "A vector is the last hidden state of the prompt's last token. Trained parameters: {trainable:,}."
    )
    card_of_answer = "the answer's beginning"
    card_description: ClassVar[str]
    card_prompt_end: ClassVar[str]

    @abstractmethod
    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Build the retriever (`slq.models.retriever`) in which only what is trained requires gradients.

        Args:
            backbone: a `slq.models.backbone.Backbone`, of which no parameter requires a gradient yet.
            hyperparameters: the method's entry in config.yaml.
            seed: of the initial values.

        Raises:
            SlqError: the backbone lacks modules that the method trains.
        """

    @abstractmethod
    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return what it computes.

        Args:
            text: the sizes of the language model, a `slq.cost.architecture.TextArchitecture`.
        """

    @abstractmethod
    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write what it trained into an export."""

    @property
    def trains(self) -> bool:
        """Whether it trains anything; what trains nothing, apart from the base, is a read-out (config.yaml)."""
        return self.name != BASE

    @property
    def inherits_retention(self) -> bool:
        """Whether its answers are base's, so that they are checked and not measured."""
        return self.trains and not self.changes_backbone


def hyperparameters_schema(description: str, **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Build the schema of a method's entry: its own hyperparameters, all needed, and those that all methods have."""
    properties |= {
        "learning_rate": {"$ref": "#/$defs/rate", "description": "Peak rate of AdamW."},
        "warmup_steps": {"type": "integer", "minimum": 0, "description": "Steps of linear warm-up."},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "description": description,
        "properties": properties,
    }


def method_name(record: Mapping[str, Any]) -> str:
    """Return the name of the method of a record: a run's settings or adapter.json, or a row of settings of cost.

    Of a variant, it is the method that it is a variant of.
    """
    name: str = record.get("variant_of", record["method"])
    return name


@cache
def list_methods() -> list[str]:
    """List the names of all methods."""
    modules = iter_modules(importlib.import_module("slq.methods").__path__)
    return sorted(module.name for module in modules if module.name not in NO_METHODS)


@cache
def find_method(name: str) -> Method:
    """Return the method of a name.

    Raises:
        SlqError: there is no such method, its file does not define exactly one, or it lacks a part.
    """
    if name not in list_methods():
        raise SlqError(f"there is no method '{name}'; expected one of {', '.join(list_methods())} (docs/methods.md)")
    module = importlib.import_module(f"slq.methods.{name}")
    method: Method = find_class(module, Method, "a method", "docs/methods.md")()
    return method
