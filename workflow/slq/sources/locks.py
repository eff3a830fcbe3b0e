"""What every part of a source was when it was first fetched: small files that a person commits."""

from pathlib import Path
from typing import Any

from slq.errors import UnsoundError
from slq.files import read_json, write_json


class Lock:
    """The lock of a source: a JSON file with an entry for each of its addresses.

    A repository's entry has its `commit` and the `sha256` of its files' hashes, an archive's its `bytes` and `sha256`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, address: str) -> dict[str, Any] | None:
        """The entry of an address, if it has one."""
        entry: dict[str, Any] | None = self._entries().get(address)
        return entry

    def check(self, address: str, found: dict[str, Any]) -> None:
        """Raise UnsoundError if what was found at an address is not what is locked."""
        locked = self[address]
        if locked not in (None, found):
            raise UnsoundError(
                f"{address}: has changed since it was locked: expected {_told(locked)}, found {_told(found)}; "
                f"if the change is meant, delete its entry in {self.path}"
            )

    def add(self, address: str, found: dict[str, Any]) -> None:
        """Lock what was found at an address, unless it is locked."""
        if self[address] is None:
            write_json(self.path, self._entries() | {address: found})

    def _entries(self) -> dict[str, Any]:
        return read_json(self.path) if self.path.exists() else {}


def _told(entry: dict[str, Any] | None) -> str:
    return ", ".join(f"{key} {str(value)[:16]}" for key, value in sorted((entry or {}).items()))
