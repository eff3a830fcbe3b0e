"""Path patterns that select the files of a source (`sources.*.parts[].files` in config.yaml)."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from slq.common.errors import VerificationError
from slq.common.files import walk_files

SNAPSHOT_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]  # of a model: no pickles, no code


def match_names(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """Return the paths that match a pattern, sorted.

    `*` does not match a slash: `*.json` does not match `sub/x.json`.
    """
    return sorted({name for name in names if any(_matches(name, pattern) for pattern in patterns)})


def list_local_files(folder: Path, patterns: Sequence[str] | None, skipped: dict[Path, str] | None = None) -> list[str]:
    """List the files of a user's folder that match the patterns, sorted, except manifest.json.

    Links to folders are followed, because images are often on another disk.

    Args:
        folder: the folder.
        patterns: path patterns; None for all files except hidden ones.
        skipped: receives the folders and links that cannot be followed, as in `walk_files`.
    """
    paths = (path.relative_to(folder) for path in walk_files(folder, {} if skipped is None else skipped))
    if patterns is None:
        return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    return [name for name in match_names((path.as_posix() for path in paths), patterns) if name != "manifest.json"]


def require_file_count(where: str, names: Sequence[str], patterns: Sequence[str], count: int | None) -> None:
    """Check that there are `count` files, or at least one if `count` is None.

    Raises:
        VerificationError: the number of files is different.
    """
    pattern_list = ", ".join(patterns)
    if not names:
        raise VerificationError(
            f"{where}: found no file {pattern_list}; the source has changed, or config.yaml has a wrong pattern"
        )
    if count is not None and len(names) != count:
        raise VerificationError(
            f"{where}: found {len(names):,} files {pattern_list}, expected {count:,}; the source is not complete"
        )


def may_hold(name: str, pattern: str) -> bool:
    """Return whether a path matches a pattern, or may be a parent folder of a matching path."""
    parts, pattern_parts = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) <= len(pattern_parts) and all(map(fnmatchcase, parts, pattern_parts))


def _matches(name: str, pattern: str) -> bool:
    """Return whether a path matches a pattern."""
    return len(PurePosixPath(name).parts) == len(PurePosixPath(pattern).parts) and may_hold(name, pattern)
