"""Registries: folders of modules that each define one class, which is looked up by the module's name."""

from types import ModuleType
from typing import Any, ClassVar, get_origin

from slq.common.errors import SlqError


def find_class(module: ModuleType, base: Any, meaning: str, documentation: str) -> Any:
    """Return the only subclass of `base` that a module defines, and set its `name` to the module's name.

    The subclass must define the abstract functions of `base`, and all class variables of `base` except `name`.

    Args:
        module: the module.
        base: the base class.
        meaning: noun phrase for the class in messages, with an article: `a method`.
        documentation: page that describes the class.

    Raises:
        SlqError: the module does not define exactly one subclass, or the subclass is incomplete.
    """
    file = f"{module.__name__.replace('.', '/')}.py"
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == module.__name__]
    classes: list[Any] = [one for one in own if issubclass(one, base)]
    if len(classes) != 1:
        raise SlqError(f"{file}: expected one subclass of {base.__name__}, found {len(classes)} ({documentation})")
    (found,) = classes
    values = [name for name, kind in base.__annotations__.items() if get_origin(kind) is ClassVar and name != "name"]
    missing = [part for part in values if not hasattr(found, part)] + sorted(found.__abstractmethods__)
    if missing:
        raise SlqError(
            f"{file}: the class {found.__name__} has no `{missing[0]}`, which {meaning} must define: add it "
            f"({base.__module__.replace('.', '/')}.py and {documentation} describe it)"
        )
    found.name = module.__name__.rpartition(".")[2]
    return found
