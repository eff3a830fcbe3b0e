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
from slq.common.files import digest, sha256, write_text
from slq.datasets.id_lists import is_public, list_file
from slq.sources.patterns import SNAPSHOT, supplied_files

Config = dict[str, Any]
Entry = list[Any]  # of a file: size, times of content and of inode in ns, SHA-256; None thrice of one just changed
SETTLED = 2 * 10**9  # ns: a file that was changed less long ago may be changed once more within one tick of its times
THREADS = 8  # files on a network's file system are waited for
TASK = 256  # files of one task
WORTH_SAYING = 10**9  # bytes


class Contents:
    """Hashes of files, remembered in a folder of scratch."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self.found: dict[str, str] = {}  # in this call

    def supplied_set(self, entry: Config, split: str) -> str:
        """Hash a split that a person supplies: the items and the images that they name; with `columns` the folder."""
        folder = Path(entry["supplied"])
        if "columns" in entry:
            return self.folder(folder, None)
        root = folder / split
        return self._look(f"{root}:items", root, ["items.jsonl", *_images(root / "items.jsonl")])

    def part(self, part: Config) -> str:
        """Hash the files of a part of a source that are copied from a person's folder."""
        return self.folder(Path(part["supplied"]), part.get("files", SNAPSHOT))

    def folder(self, folder: Path, patterns: list[str] | None) -> str:
        """Hash the files of a folder that match; without patterns all, but for hidden ones."""
        names = supplied_files(folder, patterns) if folder.is_dir() else []
        return self._look(f"{folder}:{patterns}", folder, names)

    def files(self, names: Iterable[str | Path]) -> str:
        """Hash some files."""
        paths = [str(name) for name in names if Path(name).is_file()]
        return self._look(f"files:{sorted(map(str, names))}", Path(), paths)

    def lists(self, how: Config) -> dict[str, str]:
        """Hash the lists of ids that keep or leave out images of a split, by their names in config.yaml."""
        names = [name for key in ("only", "without") for name in how.get(key, [])]
        return {name: sha256(list_file(name)) if is_public(name) else self.files([name]) for name in names}

    def _look(self, key: str, root: Path, names: list[str]) -> str:
        """Hash names and bytes of files below a folder.

        Files of which none is there any more are taken to hold what they held when they were read last; the empty text
        where they never were. Whatever reads them says that they are missing.
        """
        if key not in self.found:
            memory = self.kept / f"{digest([str(Path.cwd()), key])[:24]}.json"
            before = _remembered(memory)
            now = _hashed(root, names, before)
            if now and now != before:
                _remember(memory, now)
            held = {name: entry[-1] for name, entry in (now or before).items()}
            self.found[key] = digest(held) if held else ""
        return self.found[key]


def _hashed(root: Path, names: list[str], before: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of those files that are there; bytes are read of a file that has changed, or may have."""
    with ThreadPool(THREADS) as pool:
        times = pool.map(_times, [os.path.join(root, name) for name in names], TASK)
        found = {name: entry for name, entry in zip(names, times, strict=True) if entry}
        same = {name: before[name] for name, entry in found.items() if name in before and before[name][:-1] == entry}
        changed = [name for name in found if name not in same]
        size = sum(found[name][0] for name in changed)
        if size > WORTH_SAYING:
            print(f"Reading {size / 1e9:,.1f} GB in {root}, once, to notice changes", file=sys.stderr)
        now = time.time_ns()
        hashes = pool.map(_hash, [os.path.join(root, name) for name in changed], TASK)
    for name, hashed in zip(changed, hashes, strict=True):
        settled = now - found[name][-1] > SETTLED
        found[name] = [*(found[name] if settled else [None, None, None]), hashed]
    return found | same


def _times(path: str) -> Entry | None:
    """Size and times of a file; None where there is none, or no file can have the name."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _hash(path: str) -> str:
    """The SHA-256 of a file; the empty text of one that cannot be read, which its rule reports."""
    try:
        return sha256(Path(path))
    except SlqError:
        return ""


def _images(items: Path) -> list[str]:
    """The images that the lines of a supplied split name; of what is no item none, which its rule reports."""
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
        several = item.get("images") if isinstance(item, dict) else None
        names = [item.get("image"), *(several if isinstance(several, list) else [])] if isinstance(item, dict) else []
        found |= dict.fromkeys(name for name in names if isinstance(name, str))
    return list(found)


def _remembered(memory: Path) -> dict[str, Entry]:
    """The entries of an earlier call; none where there was none, or where a disk was full."""
    try:
        content = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(memory: Path, entries: Mapping[str, Entry]) -> None:
    """Note entries for the next call, which reads the files again where that cannot be."""
    try:
        write_text(memory, json.dumps(entries, separators=(",", ":")))
    except SlqError as error:
        print(f"{error}; files are read again by the next call", file=sys.stderr)
