"""Patterns over paths that select the wanted files of a source (`sources.*.parts[].files` of config.yaml)."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from slq.common.errors import VerificationError
from slq.common.files import walk_files

SNAPSHOT_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]  # a model snapshot: no pickles, no code


def match_names(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the paths that match a pattern, sorted.

    `*` stays within a folder: `*.json` does not match `sub/x.json`.
    """
    return sorted({name for name in names if any(_matches(name, pattern) for pattern in patterns)})


def list_local_files(folder: Path, patterns: Sequence[str] | None, skipped: dict[Path, str] | None = None) -> list[str]:
    """List the files of a user's folder that match the patterns, sorted, except a manifest.

    Without patterns all files are listed, except hidden ones. Links to folders are followed, as images are often on
    another disk.

    Args:
        skipped: receives what cannot be followed, as in `walk_files`.
    """
    paths = (path.relative_to(folder) for path in walk_files(folder, {} if skipped is None else skipped))
    if patterns is None:
        return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    return [name for name in match_names((path.as_posix() for path in paths), patterns) if name != "manifest.json"]


def require_file_count(where: str, names: Sequence[str], patterns: Sequence[str], count: int | None) -> None:
    """Raise VerificationError unless there are `count` files, or at least one if `count` is None."""
    pattern_list = ", ".join(patterns)
    if not names:
        raise VerificationError(
            f"{where}: holds no file {pattern_list}; the source has changed, or config names the wrong files"
        )
    if count is not None and len(names) != count:
        raise VerificationError(
            f"{where}: holds {len(names):,} files {pattern_list}; expected {count:,}, so it is not complete"
        )


def may_hold(name: str, pattern: str) -> bool:
    """Return whether a path matches a pattern, or is a folder in which a path may, part by part."""
    parts, pattern_parts = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) <= len(pattern_parts) and all(map(fnmatchcase, parts, pattern_parts))


def _matches(name: str, pattern: str) -> bool:
    """Return whether a path matches a pattern."""
    return len(PurePosixPath(name).parts) == len(PurePosixPath(pattern).parts) and may_hold(name, pattern)
