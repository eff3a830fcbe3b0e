"""Adapters of backbone families, one module each, named by `family` in config.yaml.

docs/backbones.md explains how to add one.
"""

import importlib
from typing import Any

from slq.common.registry import find_class
from slq.models.family import Family


def load_family(name: str, config: Any, image_processor: Any) -> Family:
    """Create the adapter that `slq/models/families/<name>.py` defines."""
    return find_family_class(name)(config, image_processor)


def find_family_class(name: str) -> type[Family]:
    """Return the only subclass of Family that a family's module defines."""
    module = importlib.import_module(f"slq.models.families.{name}")
    family_class: type[Family] = find_class(module, Family, "a family", "docs/backbones.md")
    return family_class
