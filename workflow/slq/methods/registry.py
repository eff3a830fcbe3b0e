"""Registry of methods: each module `slq/methods/<name>.py` defines one subclass of `Method`, imported when needed.

A method's module must be cheap to import, because the configuration, the cost estimates and the Snakefile use methods
too: import torch, PEFT and the models inside `build` and `export`. docs/methods.md has a complete example.
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

BASE = "base"  # the untouched backbone
NO_METHODS = ("registry", "plan", "adapter")  # modules of this package that do not define a method


class ExportTarget(Protocol):
    """Interface for writing a method's trained weights into an export; `slq.export.adapters` implements it."""

    def write_peft_adapter(self, config: Any) -> None:
        """Write the run's tensors as a PEFT adapter with the given `PeftConfig`; queries become new tokens."""
        ...

    def write_query_tokens(self, count: int) -> None:
        """Write the run's queries as embeddings of `count` new tokens, which end the chat template and are pooled."""
        ...

    def write_linear_head(self) -> None:
        """Write the run's linear map as a module that sentence-transformers applies to the read-out."""
        ...

    def write_model(self) -> None:
        """Write the complete model with the run's weights instead of the base model's."""
        ...


class Method(ABC):
    """A training method: which parameters are trained, and how hidden states are pooled. Every attribute is required.

    Attributes:
        name: name of the method's module, and of its folders, config entries and result entries.
        label: name in tables and figures.
        color: colour in figures, `#rrggbb`; colour-blind readers must be able to distinguish it from other methods'.
        read_out, adaptation: the method's two factors, in a word or two: how a vector is read out of the hidden states,
            and what is trained in the language model, `frozen` for nothing. Methods that differ in one factor are
            compared in the table of controls.
        schema: JSON schema of the method's entry of `hyperparameters` in config.yaml, from `hyperparameters_schema`. It
            may refer to definitions of workflow/schemas/config.schema.yaml.
        changes_backbone: whether training may change generated answers. If False, the method's answers equal those of
            the base model, and a check confirms it.
        image_caches: supported values of `training.image_cache`, among `none`, `features`, `batch` and `kv`. `batch`
            and `kv` cache whole prefixes, so they exclude methods that train weights inside a prefix.
        card_description: sentences about the embeddings for the model card of an export. `{read_out}` is replaced by
            the number of pooled positions, `{trainable}` by the number of trained parameters.
        card_prompt_end: description of the end of an export's chat template.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    color: ClassVar[str]
    read_out: ClassVar[str]
    adaptation: ClassVar[str]
    schema: ClassVar[Mapping[str, Any]]
    changes_backbone: ClassVar[bool]
    image_caches: ClassVar[tuple[str, ...]]
    # Texts of model cards for methods with last-token pooling. Attributes named `card…` are not part of code
    # fingerprints.
    card_of_last_token = (
        "A vector is the last hidden state of the prompt's last token. Trained parameters: {trainable:,}."
    )
    card_of_answer = "the answer's beginning"
    card_description: ClassVar[str]
    card_prompt_end: ClassVar[str]

    @abstractmethod
    def build(self, backbone: Any, hyperparameters: Mapping[str, Any], seed: int) -> Any:
        """Build a retriever (`slq.models.retriever`) in which only the trained parameters require gradients.

        Args:
            backbone: a `slq.models.backbone.Backbone` in which no parameter requires a gradient yet.
            hyperparameters: the method's entry of `hyperparameters` in config.yaml.
            seed: seed of the initial weights.

        Raises:
            SlqError: the backbone lacks modules that the method trains.
        """

    @abstractmethod
    def plan(self, hyperparameters: Mapping[str, Any], text: Any) -> ComputePlan:
        """Return the compute plan of the method, for estimates of its cost.

        Args:
            text: sizes of the language model, a `slq.cost.architecture.TextArchitecture`.
        """

    @abstractmethod
    def export(self, folder: ExportTarget, hyperparameters: Mapping[str, Any]) -> None:
        """Write the method's trained weights into an export."""

    def interpolate(self, name: str, initial: Any, trained: Any, fraction: float) -> Any:
        """Return a trained tensor whose effect on the backbone is scaled by a fraction; 0 is base, 1 is the run.

        Args:
            name: name of the tensor in the adapter.
            initial, trained: the tensor before training, and after it.

        Raises:
            SlqError: the method has no path between base and a run. A method that has one overrides this.
        """
        raise SlqError(f"{self.name} cannot be interpolated with base (docs/methods.md); remove it from `interpolated`")

    @property
    def is_interpolable(self) -> bool:
        """Whether a run can be interpolated with base."""
        return type(self).interpolate is not Method.interpolate

    @property
    def trains(self) -> bool:
        """Whether the method trains any parameters; only base does not (zero-shot read-outs are not methods)."""
        return self.name != BASE

    @property
    def inherits_retention(self) -> bool:
        """Whether its answers equal the base model's, so that retention is checked for equality and not measured."""
        return self.trains and not self.changes_backbone


def hyperparameters_schema(description: str, **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    """Build the JSON schema of a method's hyperparameters: its own and those of all methods, all of them required."""
    properties |= {
        "learning_rate": {"$ref": "#/$defs/rate", "description": "Peak learning rate of AdamW."},
        "warmup_steps": {"type": "integer", "minimum": 0, "description": "Number of linear warm-up steps."},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "description": description,
        "properties": properties,
    }


def method_name(record: Mapping[str, Any]) -> str:
    """Return the registry name of a record's method; for a variant, the method that it is a variant of.

    Args:
        record: settings of a run, the content of an adapter.json, or a row of cost settings.
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
    """Return the method with a given name.

    Raises:
        SlqError: no such method exists, its module does not define exactly one, or it lacks a required attribute.
    """
    if name not in list_methods():
        raise SlqError(f"there is no method '{name}'; expected one of {', '.join(list_methods())} (docs/methods.md)")
    module = importlib.import_module(f"slq.methods.{name}")
    method: Method = find_class(module, Method, "a method", "docs/methods.md")()
    return method
