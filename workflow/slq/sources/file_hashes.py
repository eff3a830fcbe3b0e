"""Content hashes of the files that config.yaml names, as parameters of the rules that read them.

They are no inputs of the rules, as a clone with results but without these files must still render its tables. Bytes are
read once: a file with the same size and times as before counts as unchanged, so that a call of Snakemake looks up
100,000 images in seconds. A touched or copied file is read again, and re-runs no rule if its content is the same.
Nothing is read before a rule's jobs are examined, and the rules of large folders are local, so a job on a cluster pays
nothing.

This module is imported whenever the Snakefile is read, so it must import nothing heavy.
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
FileRecord = list[Any]  # [size, mtime in ns, ctime in ns, SHA-256]; the first three are None if just changed
# ns: a file that changed more recently may change once more within one tick of its times.
SETTLE_TIME_NS = 2 * 10**9
HASH_THREADS = 8  # many, as reads on a network file system mostly wait
FILES_PER_TASK = 256  # files per task of the thread pool
MIN_REPORTED_BYTES = 10**9  # reading more is reported


class FileHashCache:
    """A cache of file hashes, stored in a folder of scratch."""

    def __init__(self, cache_folder: Path) -> None:
        self.cache_folder = cache_folder
        self.hashes: dict[str, str] = {}  # hashes computed in this call, by key

    def hash_local_split(self, entry: Config, split: str) -> str:
        """Hash a local split: its items and the images that they name; with `hub_layout`, its whole folder."""
        folder = Path(entry["local_dir"])
        if "hub_layout" in entry:
            return self.hash_folder(folder, None)
        root = folder / split
        return self._hash_named_files(f"{root}:items", root, ["items.jsonl", *_read_image_names(root / "items.jsonl")])

    def hash_source_part(self, part: Config) -> str:
        """Hash the files of a part of a source that are copied from a user's folder."""
        return self.hash_folder(Path(part["local_dir"]), part.get("files", SNAPSHOT_PATTERNS))

    def hash_folder(self, folder: Path, patterns: list[str] | None) -> str:
        """Hash the files of a folder that match the patterns; without patterns, all files except hidden ones."""
        names = list_local_files(folder, patterns) if folder.is_dir() else []
        return self._hash_named_files(f"{folder}:{patterns}", folder, names)

    def hash_files(self, names: Iterable[str | Path]) -> str:
        """Hash the files of `names` that exist."""
        paths = [str(name) for name in names if Path(name).is_file()]
        return self._hash_named_files(f"files:{sorted(map(str, names))}", Path(), paths)

    def hash_id_lists(self, split_config: Config) -> dict[str, str]:
        """Hash the lists of ids that include or exclude images of a split, by their names in config.yaml."""
        names = [name for key in ("include_ids", "exclude_ids") for name in split_config.get(key, [])]
        return {
            name: hash_file(id_list_path(name)) if is_bundled_list(name) else self.hash_files([name]) for name in names
        }

    def _hash_named_files(self, key: str, root: Path, names: list[str]) -> str:
        """Hash the names and bytes of files below a folder.

        If none of the files exists any more, they are assumed to have the content that was last read; if they were
        never read, the hash is the empty text. The rule that reads them reports that they are missing.
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
    """Return the records of those files that exist, reading the bytes of files that have, or may have, changed."""
    with ThreadPool(HASH_THREADS) as pool:
        stats = pool.map(_stat_file, [os.path.join(root, name) for name in names], FILES_PER_TASK)
        current = {name: entry for name, entry in zip(names, stats, strict=True) if entry}
        unchanged = {
            name: previous[name] for name, entry in current.items() if name in previous and previous[name][:-1] == entry
        }
        changed = [name for name in current if name not in unchanged]
        size = sum(current[name][0] for name in changed)
        if size > MIN_REPORTED_BYTES:
            print(f"Reading {size / 1e9:,.1f} GB in {root}, once, to notice changes", file=sys.stderr)
        now = time.time_ns()
        hashes = pool.map(_hash_file, [os.path.join(root, name) for name in changed], FILES_PER_TASK)
    for name, hashed in zip(changed, hashes, strict=True):
        settled = now - current[name][-1] > SETTLE_TIME_NS
        current[name] = [*(current[name] if settled else [None, None, None]), hashed]
    return current | unchanged


def _stat_file(path: str) -> FileRecord | None:
    """Return the size and times of a file; None if it does not exist or no file can have the name."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _hash_file(path: str) -> str:
    """Return the SHA-256 of a file; the empty text if it cannot be read, which its rule reports."""
    try:
        return hash_file(Path(path))
    except SlqError:
        return ""


def _read_image_names(items: Path) -> list[str]:
    """Return the images that the lines of a local split name.

    Lines that are no item are skipped: the split's rule reports them.
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
    """Read the records of an earlier call; none if there was none, or if its file is broken, as after a full disk."""
    try:
        content = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_records(cache_file: Path, records: Mapping[str, FileRecord]) -> None:
    """Store records for the next call, which reads the files again if they cannot be stored."""
    try:
        write_text(cache_file, json.dumps(records, separators=(",", ":")))
    except SlqError as error:
        print(f"{error}; files are read again by the next call", file=sys.stderr)
