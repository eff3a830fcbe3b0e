"""Kinds of command-line options: all of them are required, since rules give everything."""

import json
from pathlib import Path
from typing import Any

PATH: dict[str, Any] = {"type": Path, "required": True}
JSON: dict[str, Any] = {"type": json.loads, "required": True}
WHOLE: dict[str, Any] = {"type": int, "required": True}
TEXT: dict[str, Any] = {"required": True}
