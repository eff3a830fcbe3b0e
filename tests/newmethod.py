"""The method of docs/methods.md, as a person would add it: its file and its entry in the configuration.

`python tests/newmethod.py` adds both to the checkout in the current folder, the entry as ia3.yaml.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import slq.methods
from checkout import ROOT
from slq.methods.registry import find_method, list_methods

PAGE = (ROOT / "docs/methods.md").read_text()
(SOURCE,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
VARIANT, ENTRY = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
NAME = "ia3"


def forget() -> None:
    """Forget the methods that were found, and the module of the new one."""
    list_methods.cache_clear()
    find_method.cache_clear()
    sys.modules.pop(f"slq.methods.{NAME}", None)


@contextmanager
def added(folder: Path, source: str = SOURCE) -> Iterator[None]:
    """With the method's file beside the package's own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slq.methods, "__path__", [*slq.methods.__path__, str(folder)])
        forget()
        yield
    forget()


def lay_over(config: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """A configuration with an entry laid over it, as `--configfile` does: mappings merged, lists replaced."""
    for key, value in entry.items():
        config[key] = lay_over(config.get(key, {}), value) if isinstance(value, dict) else value
    return config


if __name__ == "__main__":
    Path(f"workflow/slq/methods/{NAME}.py").write_text(SOURCE)
    Path(f"{NAME}.yaml").write_text(yaml.safe_dump(ENTRY))
