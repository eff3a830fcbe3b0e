"""Warnings about metrics files that no longer follow from their ranks or answers, or that cannot be checked."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slq.evaluation.freshness import check_freshness


@dataclass
class StaleFiles:
    """The stale and unchecked metrics files under `root` that a command has read.

    Attributes:
        root: the folder that holds one folder per preset
        stale_reasons: why each file is stale, by its path as sources name it
        unchecked_reasons: why each file cannot be checked, likewise
    """

    root: Path
    stale_reasons: dict[str, str] = field(default_factory=dict)
    unchecked_reasons: dict[str, str] = field(default_factory=dict)

    def check(self, path: Path, content: Mapping[str, Any]) -> str:
        """Check that the numbers of a metrics file follow from its ranks or answers; errors as in `check_freshness`.

        Returns:
            the stale file and the reason; an empty string if the numbers follow
        """
        freshness = check_freshness(path, content)
        file = relative_path(freshness.path, self.root)
        if freshness.unchecked_reason:
            self.unchecked_reasons[file] = freshness.unchecked_reason
        if freshness.stale_reason:
            self.stale_reasons[file] = freshness.stale_reason
        return f"{file} {freshness.stale_reason}" if freshness.stale_reason else ""

    def warning_lines(self) -> list[str]:
        """Return one line per stale file, and one per reason why files cannot be checked."""
        lines = [f"{file} {why}" for file, why in sorted(self.stale_reasons.items())]
        files_by_reason = defaultdict(list)
        for file, reason in sorted(self.unchecked_reasons.items()):
            files_by_reason[reason].append(file)
        for reason, files in files_by_reason.items():
            more = f", and so {len(files) - 1} more" if len(files) > 1 else ""
            lines.append(f"not checkable: {files[0]} {reason}{more}")
        return lines

    def print_warnings(self) -> None:
        """Print the warnings to standard error."""
        for line in self.warning_lines():
            print(f"slq: warning: {line}", file=sys.stderr)


def relative_path(path: Path, root: Path) -> str:
    """Return `path` relative to the folder above the results folder `root`, or as given if it lies elsewhere."""
    base = root.resolve().parent
    resolved = path.resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path.as_posix()
