"""Metrics files that no longer follow from their ranks or answers, or of which that is not known: who reads says so."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slq.evaluation.freshness import followed


@dataclass
class StaleFiles:
    """What was found of the metrics files under `root` that a command read, by file as sources have it."""

    root: Path
    stale: dict[str, str] = field(default_factory=dict)
    unchecked: dict[str, str] = field(default_factory=dict)

    def of(self, path: Path, content: Mapping[str, Any]) -> str:
        """Which file is stale and why, "" where the numbers of `path` follow; errors as in `followed`."""
        found = followed(path, content)
        file = relative(found.path, self.root)
        if found.unchecked:
            self.unchecked[file] = found.unchecked
        if found.stale:
            self.stale[file] = found.stale
        return f"{file} {found.stale}" if found.stale else ""

    def notices(self) -> list[str]:
        """A line for every stale file; of files that cannot be checked one for all that lack the same."""
        lines = [f"{file} {why}" for file, why in sorted(self.stale.items())]
        alike = defaultdict(list)
        for file, why in sorted(self.unchecked.items()):
            alike[why].append(file)
        for why, files in alike.items():
            more = f", and so {len(files) - 1} more" if len(files) > 1 else ""
            lines.append(f"not checkable: {files[0]} {why}{more}")
        return lines

    def say(self) -> None:
        """Print them where warnings go."""
        for line in self.notices():
            print(f"slq: warning: {line}", file=sys.stderr)


def relative(path: Path, root: Path) -> str:
    """`path` as seen from the folder above the results root, or as given if it lies elsewhere."""
    base = root.resolve().parent
    resolved = path.resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path.as_posix()
