"""Which files of a source are wanted: patterns over their paths, as in `sources.*.parts[].files` of config.yaml."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from slq.common.errors import VerificationError

SNAPSHOT_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]  # of a model: never pickles, never code


def match_names(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The paths that match a pattern, sorted; `*` stays within a folder: `*.json` is not `sub/x.json`."""
    return sorted({name for name in names if any(_matches(name, pattern) for pattern in patterns)})


def list_local_files(folder: Path, patterns: Sequence[str] | None) -> list[str]:
    """The files of a person's folder that match, sorted, but for a manifest; without patterns all but hidden ones.

    Links to folders are followed: images often lie on another disk.
    """
    paths = (path.relative_to(folder) for path in _walk_files(folder))
    if patterns is None:
        return sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    return [name for name in match_names((path.as_posix() for path in paths), patterns) if name != "manifest.json"]


def require_file_count(where: str, names: Sequence[str], patterns: Sequence[str], count: int | None) -> None:
    """Raise VerificationError unless there are files, as many as expected: `count`, or any number without it."""
    pattern_list = ", ".join(patterns)
    if not names:
        raise VerificationError(
            f"{where}: holds no file {pattern_list}; the source has changed, or config names the wrong files"
        )
    if count is not None and len(names) != count:
        raise VerificationError(
            f"{where}: holds {len(names):,} files {pattern_list}; expected {count:,}, so it is not complete"
        )


def _walk_files(folder: Path, ancestors: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a folder and of those in it;
    a link to one of the folders `ancestors` is not followed again.
    """
    resolved = folder.resolve()
    if resolved in ancestors:
        return
    with suppress(PermissionError), os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            found = path if entry.is_symlink() else entry  # an entry fails at a link that names itself
            if found.is_dir():
                yield from _walk_files(path, (*ancestors, resolved))
            elif found.is_file():
                yield path


def _matches(name: str, pattern: str) -> bool:
    parts, pattern_parts = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(pattern_parts) and all(
        fnmatchcase(part, one) for part, one in zip(parts, pattern_parts, strict=True)
    )
