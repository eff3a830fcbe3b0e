"""Metrics files that no longer follow from their ranks or answers, or of which that is not known: who reads says so."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slq.evaluation.freshness import check_freshness


@dataclass
class StaleFiles:
    """What was found of the metrics files under `root` that a command read, by file as sources have it."""

    root: Path
    stale_reasons: dict[str, str] = field(default_factory=dict)
    unchecked_reasons: dict[str, str] = field(default_factory=dict)

    def check(self, path: Path, content: Mapping[str, Any]) -> str:
        """Which file is stale and why, "" where the numbers of `path` follow; errors as in `check_freshness`."""
        freshness = check_freshness(path, content)
        file = relative_path(freshness.path, self.root)
        if freshness.unchecked_reason:
            self.unchecked_reasons[file] = freshness.unchecked_reason
        if freshness.stale_reason:
            self.stale_reasons[file] = freshness.stale_reason
        return f"{file} {freshness.stale_reason}" if freshness.stale_reason else ""

    def warning_lines(self) -> list[str]:
        """A line for every stale file; of files that cannot be checked one for all that lack the same."""
        lines = [f"{file} {why}" for file, why in sorted(self.stale_reasons.items())]
        files_by_reason = defaultdict(list)
        for file, reason in sorted(self.unchecked_reasons.items()):
            files_by_reason[reason].append(file)
        for reason, files in files_by_reason.items():
            more = f", and so {len(files) - 1} more" if len(files) > 1 else ""
            lines.append(f"not checkable: {files[0]} {reason}{more}")
        return lines

    def print_warnings(self) -> None:
        """Print them where warnings go."""
        for line in self.warning_lines():
            print(f"slq: warning: {line}", file=sys.stderr)


def relative_path(path: Path, root: Path) -> str:
    """`path` as seen from the folder above the results root, or as given if it lies elsewhere."""
    base = root.resolve().parent
    resolved = path.resolve()
    return resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path.as_posix()
