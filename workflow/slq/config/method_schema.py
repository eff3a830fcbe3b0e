"""Parts of the configuration's schema that come from registries: methods and their hyperparameters, baseline kinds."""

from typing import Any

from slq.baselines.registry import find_kind, list_kinds
from slq.common.errors import SlqError
from slq.methods.registry import BASE, find_method, list_methods

Config = dict[str, Any]


def fill_method_schema(schema: Config, raw: Any) -> Config:
    """Add the methods, and the variants that the configuration defines, to the schema.

    Args:
        schema: workflow/schemas/config.schema.yaml; changed in place and returned.
        raw: the configuration before validation.

    Raises:
        SlqError: a variant has the name of a method, or belongs to different methods in two presets.
    """
    parents = _variant_parents(raw)
    trained = [*(name for name in list_methods() if name != BASE), *parents]
    definitions = schema["$defs"]
    definitions["method"]["enum"] = [*list_methods(), *parents]
    definitions["by_hyperparameters"]["properties"] = {
        name: _variant_schema(parents[name]) if name in parents else dict(find_method(name).schema) for name in trained
    }
    for kind, value in (("by_seed_sd", "spread"), ("by_run", "run"), ("by_center", "rate")):
        definitions[kind]["properties"] = {
            name: {"$ref": f"#/$defs/{value}", "description": f"Of {name}."} for name in trained
        }
    return schema


def fill_baseline_schema(schema: Config) -> Config:
    """Add the kinds of baselines and their keys to the schema; change it in place and return it."""
    definition = schema["$defs"]["baseline"]
    definition["properties"]["kind"]["enum"] = list_kinds()
    definition["allOf"] = [
        {"if": {"required": ["kind"], "properties": {"kind": {"const": name}}}, "then": dict(find_kind(name).schema)}
        for name in list_kinds()
    ]
    return schema


def _variant_schema(parent: Any) -> Config:
    """Build the schema of a variant's entry: its method, and any keys of that method."""
    methods = [name for name in list_methods() if name != BASE]
    of = {"enum": methods, "description": "The method that it is a variant of."}
    if parent not in methods:
        return {"type": "object", "properties": {"of": of}}  # so that the error is about `of`, not about another key
    schema = dict(find_method(parent).schema)
    return schema | {"required": ["of"], "properties": {"of": of, **schema["properties"]}}


def _variant_parents(raw: Any) -> dict[str, Any]:
    """Return the method of each variant in all presets; entries that do not look like a variant are ignored."""
    parents: dict[str, Any] = {}
    presets = raw.get("presets")
    for preset, content in presets.items() if isinstance(presets, dict) else ():
        entries = content.get("hyperparameters") if isinstance(content, dict) else None
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(entry, dict) or "of" not in entry:
                continue
            key = f"config: presets.{preset}.hyperparameters.{name}"
            if name in list_methods():
                raise SlqError(f"{key} has `of`, but {name} is a method; a variant needs another name")
            if parents.setdefault(name, entry["of"]) != entry["of"]:
                raise SlqError(
                    f"{key}.of is '{entry['of']}', but '{parents[name]}' in another preset; a variant must have the "
                    "same method in all presets"
                )
    return parents
