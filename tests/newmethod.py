"""The example method of docs/methods.md: its file and its entry in the configuration.

`python tests/newmethod.py` adds both to the checkout in the current folder; the entry is written to ia3.yaml.
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
    """Clear the cached registry of methods, and unload the module of the new method."""
    list_methods.cache_clear()
    find_method.cache_clear()
    sys.modules.pop(f"slq.methods.{NAME}", None)


@contextmanager
def added(folder: Path, source: str = SOURCE) -> Iterator[None]:
    """Add the file of a method to the package for as long as the block runs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{NAME}.py").write_text(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slq.methods, "__path__", [*slq.methods.__path__, str(folder)])
        forget()
        yield
    forget()


def lay_over(config: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Lay an entry over a configuration, as `--configfile` does: merge mappings and replace lists."""
    for key, value in entry.items():
        config[key] = lay_over(config.get(key, {}), value) if isinstance(value, dict) else value
    return config


if __name__ == "__main__":
    Path(f"workflow/slq/methods/{NAME}.py").write_text(SOURCE)
    Path(f"{NAME}.yaml").write_text(yaml.safe_dump(ENTRY))
