"""The parts of the configuration's schema that registries know: methods with hyperparameters, kinds of baselines."""

from typing import Any

from slq.baselines.registry import find_kind, list_kinds
from slq.common.errors import SlqError
from slq.methods.registry import BASE, find_method, list_methods

Config = dict[str, Any]


def fill_method_schema(schema: Config, raw: Any) -> Config:
    """Fill in the schema what it leaves open: the methods, and the variants that the configuration defines.

    Args:
        schema: workflow/schemas/config.schema.yaml; changed in place and returned.
        raw: the configuration, not checked yet.

    Raises:
        SlqError: a variant has the name of a method, or is of different methods in two presets.
    """
    parents = _variant_parents(raw)
    trained = [*(name for name in list_methods() if name != BASE), *parents]
    definitions = schema["$defs"]
    definitions["method"]["enum"] = [*list_methods(), *parents]
    definitions["by_hyperparameters"]["properties"] = {
        name: _variant_schema(parents[name]) if name in parents else dict(find_method(name).schema) for name in trained
    }
    for kind, value in (("by_seed_sd", "spread"), ("by_run", "run")):
        definitions[kind]["properties"] = {
            name: {"$ref": f"#/$defs/{value}", "description": f"Of {name}."} for name in trained
        }
    return schema


def fill_baseline_schema(schema: Config) -> Config:
    """Fill in the schema which kinds of baselines there are, and the keys of each; change it in place and return it."""
    definition = schema["$defs"]["baseline"]
    definition["properties"]["kind"]["enum"] = list_kinds()
    definition["allOf"] = [
        {"if": {"required": ["kind"], "properties": {"kind": {"const": name}}}, "then": dict(find_kind(name).schema)}
        for name in list_kinds()
    ]
    return schema


def _variant_schema(parent: Any) -> Config:
    """Build the schema of a variant's entry: what it is of, and any of that method's keys."""
    methods = [name for name in list_methods() if name != BASE]
    of = {"enum": methods, "description": "The method that it is a variant of."}
    if parent not in methods:
        return {"type": "object", "properties": {"of": of}}  # so that the message is about `of`, and no other key
    schema = dict(find_method(parent).schema)
    return schema | {"required": ["of"], "properties": {"of": of, **schema["properties"]}}


def _variant_parents(raw: Any) -> dict[str, Any]:
    """Return what each variant of any preset is of, as far as entries have the form of a variant."""
    parents: dict[str, Any] = {}
    presets = raw.get("presets")
    for preset, content in presets.items() if isinstance(presets, dict) else ():
        entries = content.get("hyperparameters") if isinstance(content, dict) else None
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, dict) or "of" not in entry:
                continue
            key = f"config: presets.{preset}.hyperparameters.{name}"
            if name in list_methods():
                raise SlqError(f"{key} has `of`, and {name} is a method; a variant needs a name of its own")
            if parents.setdefault(name, entry["of"]) != entry["of"]:
                raise SlqError(
                    f"{key}.of is '{entry['of']}', and in another preset '{parents[name]}'; a variant is of one method"
                )
    return parents
