"""What the files that config.yaml names hold: by content, as parameters of the rules that read them.

They are no inputs, as a clone with results but without them must still render its tables. Bytes are read once: a file
of the size and times that it had is taken to be what it was, so that a call of Snakemake looks 100,000 images up in
seconds; a touched or copied one is read again, and makes nothing due if it holds what it held. Nothing is read before a
rule's jobs are looked at, and the rules of large folders are local: a job on a cluster pays nothing.

Imported whenever the Snakefile is read, so nothing heavy here.
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
FileRecord = list[Any]  # of a file: size, times of content and of inode in ns, SHA-256; None thrice of one just changed
SETTLE_TIME_NS = (
    2 * 10**9
)  # ns: a file that was changed less long ago may be changed once more within one tick of its times
HASH_THREADS = 8  # files on a network's file system are waited for
FILES_PER_TASK = 256  # files of one task
MIN_REPORTED_BYTES = 10**9  # bytes


class FileHashCache:
    """Hashes of files, remembered in a folder of scratch."""

    def __init__(self, cache_folder: Path) -> None:
        self.cache_folder = cache_folder
        self.hashes: dict[str, str] = {}  # in this call

    def hash_local_split(self, entry: Config, split: str) -> str:
        """Hash a local split: the items and the images that they name; with `hub_layout` the folder."""
        folder = Path(entry["local_dir"])
        if "hub_layout" in entry:
            return self.hash_folder(folder, None)
        root = folder / split
        return self._hash_named_files(f"{root}:items", root, ["items.jsonl", *_read_image_names(root / "items.jsonl")])

    def hash_source_part(self, part: Config) -> str:
        """Hash the files of a part of a source that are copied from a person's folder."""
        return self.hash_folder(Path(part["local_dir"]), part.get("files", SNAPSHOT_PATTERNS))

    def hash_folder(self, folder: Path, patterns: list[str] | None) -> str:
        """Hash the files of a folder that match; without patterns all, but for hidden ones."""
        names = list_local_files(folder, patterns) if folder.is_dir() else []
        return self._hash_named_files(f"{folder}:{patterns}", folder, names)

    def hash_files(self, names: Iterable[str | Path]) -> str:
        """Hash some files."""
        paths = [str(name) for name in names if Path(name).is_file()]
        return self._hash_named_files(f"files:{sorted(map(str, names))}", Path(), paths)

    def hash_id_lists(self, split_config: Config) -> dict[str, str]:
        """Hash the lists of ids that keep or leave out images of a split, by their names in config.yaml."""
        names = [name for key in ("include_ids", "exclude_ids") for name in split_config.get(key, [])]
        return {
            name: hash_file(id_list_path(name)) if is_bundled_list(name) else self.hash_files([name]) for name in names
        }

    def _hash_named_files(self, key: str, root: Path, names: list[str]) -> str:
        """Hash names and bytes of files below a folder.

        Files of which none is there any more are taken to hold what they held when they were read last; the empty text
        where they never were. Whatever reads them says that they are missing.
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
    """The entries of those files that are there; bytes are read of a file that has changed, or may have."""
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
    """Size and times of a file; None where there is none, or no file can have the name."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _hash_file(path: str) -> str:
    """The SHA-256 of a file; the empty text of one that cannot be read, which its rule reports."""
    try:
        return hash_file(Path(path))
    except SlqError:
        return ""


def _read_image_names(items: Path) -> list[str]:
    """The images that the lines of a local split name; of what is no item none, which its rule reports."""
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
    """The entries of an earlier call; none where there was none, or where a disk was full."""
    try:
        content = json.loads(cache_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_records(cache_file: Path, records: Mapping[str, FileRecord]) -> None:
    """Note entries for the next call, which reads the files again where that cannot be."""
    try:
        write_text(cache_file, json.dumps(records, separators=(",", ":")))
    except SlqError as error:
        print(f"{error}; files are read again by the next call", file=sys.stderr)
