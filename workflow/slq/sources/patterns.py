"""Which files of a source are wanted: patterns over their paths, as in `sources.*.parts[].files` of config.yaml."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from slq.errors import UnsoundError


def wanted(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The paths that match a pattern, sorted; `*` stays within a folder: `*.json` is not `sub/x.json`."""
    return sorted({name for name in names if any(_matches(name, pattern) for pattern in patterns)})


def check_count(where: str, names: Sequence[str], patterns: Sequence[str], count: int | None) -> None:
    """Raise UnsoundError unless there are files, as many as expected: `count`, or any number without it."""
    listed = ", ".join(patterns)
    if not names:
        raise UnsoundError(f"{where}: holds no file {listed}; the source has changed, or config names the wrong files")
    if count is not None and len(names) != count:
        raise UnsoundError(f"{where}: holds {len(names):,} files {listed}; expected {count:,}, so it is not complete")


def _matches(name: str, pattern: str) -> bool:
    parts, asked = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(asked) and all(fnmatchcase(part, one) for part, one in zip(parts, asked, strict=True))
