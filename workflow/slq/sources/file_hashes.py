"""Content hashes of the user's files that config.yaml names.

The hashes are parameters of the rules that read the files. The files are not inputs of the rules, because a clone with
results but without these files must still be able to render its tables.

A file is read again only if its size or times have changed, so that Snakemake checks 100,000 images in seconds. If a
touched or copied file has the same content, no rule re-runs. Hashes are computed only when the jobs of a rule are
examined. The rules of large folders are local, so cluster jobs do not hash these folders.

This module is imported whenever the Snakefile is read, so its imports must be fast.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import hash_file, hash_json, write_text
from slq.datasets.id_lists import id_list_path, is_bundled_list
from slq.sources.patterns import SNAPSHOT_PATTERNS, list_local_files

Config = dict[str, Any]
# [size, mtime in ns, ctime in ns, SHA-256]; the first three are None for a file that has just changed.
FileRecord = list[Any]
# The times of a file have a limited resolution: a file that changed less than this ago may change again without a
# change of its times.
SETTLE_TIME_NS = 2 * 10**9
HASH_THREADS = 8  # more than the cores, because reads on a network file system mostly wait
FILES_PER_TASK = 256  # files per task of the thread pool
MIN_REPORTED_BYTES = 10**9  # reading more bytes prints a message


class FileHashCache:
    """Cache of file hashes, stored in a folder of scratch."""

    def __init__(self, cache_folder: Path) -> None:
        self.cache_folder = cache_folder
        self.hashes: dict[str, str] = {}  # hashes computed in this call, by key

    def hash_local_split(self, entry: Config, split: str) -> str:
        """Hash a local split: its items and their images, or its whole folder if it has a `hub_layout`."""
        folder = Path(entry["local_dir"])
        if "hub_layout" in entry:
            return self.hash_folder(folder, None)
        root = folder / split
        return self._hash_named_files(f"{root}:items", root, ["items.jsonl", *_read_image_names(root / "items.jsonl")])

    def hash_source_part(self, part: Config) -> str:
        """Hash the files of a source's part that are copied from a user's folder."""
        return self.hash_folder(Path(part["local_dir"]), part.get("files", SNAPSHOT_PATTERNS))

    def hash_folder(self, folder: Path, patterns: list[str] | None) -> str:
        """Hash the files of a folder that match the patterns; without patterns, all files except hidden ones."""
        names = list_local_files(folder, patterns) if folder.is_dir() else []
        return self._hash_named_files(f"{folder}:{patterns}", folder, names)

    def hash_files(self, names: Iterable[str | Path]) -> str:
        """Hash those files in `names` that exist."""
        paths = [str(name) for name in names if Path(name).is_file()]
        return self._hash_named_files(f"files:{sorted(map(str, names))}", Path(), paths)

    def hash_id_lists(self, split_config: Config) -> dict[str, str]:
        """Hash the id lists that include or exclude images of a split; return the hashes by name in config.yaml."""
        names = [name for key in ("include_ids", "exclude_ids") for name in split_config.get(key, [])]
        return {
            name: hash_file(id_list_path(name)) if is_bundled_list(name) else self.hash_files([name]) for name in names
        }

    def _hash_named_files(self, key: str, root: Path, names: list[str]) -> str:
        """Hash the names and contents of files below a folder.

        If none of the files exists any more, the last known hash is returned, or an empty string if there is none. The
        rule that reads the files then reports that they are missing.
        """
        if key not in self.hashes:
            cache_file = self.cache_folder / f"{hash_json([str(Path.cwd()), key])[:24]}.json"
            previous = _read_records(cache_file)
            current = _update_records(root, names, previous)
            if current and current != previous:
                _write_records(cache_file, current)
            hash_by_name = {name: entry[-1] for name, entry in (current or previous).items()}
            self.hashes[key] = hash_json(hash_by_name) if hash_by_name else ""
        return self.hashes[key]


def _update_records(root: Path, names: list[str], previous: Mapping[str, FileRecord]) -> dict[str, FileRecord]:
    """Return the records of the files that exist; read only files that have, or may have, changed."""
    with ThreadPool(HASH_THREADS) as pool:
        stats = pool.map(_stat_file, [os.path.join(root, name) for name in names], FILES_PER_TASK)
        current = {name: entry for name, entry in zip(names, stats, strict=True) if entry}
        unchanged = {
            name: previous[name] for name, entry in current.items() if name in previous and previous[name][:-1] == entry
        }
        changed = [name for name in current if name not in unchanged]
        size = sum(current[name][0] for name in changed)
        if size > MIN_REPORTED_BYTES:
            print(f"Hashing {size / 1e9:,.1f} GB in {root}, once, to detect later changes", file=sys.stderr)
        now = time.time_ns()
        hashes = pool.map(_hash_file, [os.path.join(root, name) for name in changed], FILES_PER_TASK)
    for name, hashed in zip(changed, hashes, strict=True):
        settled = now - current[name][-1] > SETTLE_TIME_NS
        current[name] = [*(current[name] if settled else [None, None, None]), hashed]
    return current | unchanged


def _stat_file(path: str) -> FileRecord | None:
    """Return the size and times of a file; None if it does not exist or the name is invalid."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _hash_file(path: str) -> str:
    """Return the SHA-256 of a file; an empty string if it cannot be read, which its rule reports."""
    try:
        return hash_file(Path(path))
    except SlqError:
        return ""


def _read_image_names(items: Path) -> list[str]:
    """Return the image names in the lines of a local split's items.jsonl.

    Invalid lines are skipped; the rule of the split reports them.
    """
    found: dict[str, None] = {}
    try:
        lines = items.read_bytes().split(b"\n")
    except OSError:
        return []
    for line in lines:
        try:
            item = json.loads(line)
        except ValueError:
            continue
        image_list = item.get("images") if isinstance(item, dict) else None
        names = (
            [item.get("image"), *(image_list if isinstance(image_list, list) else [])] if isinstance(item, dict) else []
        )
        found |= dict.fromkeys(name for name in names if isinstance(name, str))
    return list(found)


def _read_records(cache_file: Path) -> dict[str, FileRecord]:
    """Read the records of an earlier call; return none if the file is missing, or damaged as after a full disk."""
    try:
        content = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_records(cache_file: Path, records: Mapping[str, FileRecord]) -> None:
    """Store records for the next call; if this fails, the next call reads the files again."""
    try:
        write_text(cache_file, json.dumps(records, separators=(",", ":")))
    except SlqError as error:
        print(f"{error}; the next call reads the files again", file=sys.stderr)
