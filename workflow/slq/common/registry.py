"""Registries: folders whose modules each define one class, which is found by the module's name."""

from types import ModuleType
from typing import Any, ClassVar, get_origin

from slq.common.errors import SlqError


def find_class(module: ModuleType, base: Any, meaning: str, documentation: str) -> Any:
    """Return the one subclass of `base` that a module defines, with the module's name as its `name`.

    Its parts are the abstract functions of `base` and its class variables but `name`; none has a default.

    Args:
        meaning: what the class stands for, with its article: `a method`.
        documentation: where it is described.

    Raises:
        SlqError: there is not exactly one, or it lacks a part.
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
            f"{file}: the class {found.__name__} has no `{missing[0]}`; {meaning} has no default for it: add it "
            f"({base.__module__.replace('.', '/')}.py and {documentation} say what it is)"
        )
    found.name = module.__name__.rpartition(".")[2]
    return found
