"""Safe unpacking of zip archives: only if every name stays inside the folder and the unpacked size is bounded."""

import hashlib
import os
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from slq.common.errors import SlqError, VerificationError
from slq.common.progress import Progress
from slq.sources.patterns import match_names, require_file_count

BLOCK_BYTES = 1 << 20
MAX_COMPRESSION_RATIO = 100  # unpacked bytes per packed byte: text 3 to 20, pictures 1; a zip bomb 1,000 and more
# What zipfile raises for a damaged archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def unpack(file: Path, out: Path, patterns: Sequence[str], count: int | None, address: str) -> dict[str, str]:
    """Write the wanted members of an archive under `out`, each under a temporary name first.

    Args:
        count: how many members the patterns must match together; None for any number above 0.
        address: where the archive came from, for messages.

    Returns:
        the SHA-256 of every file, by its path.

    Raises:
        SlqError: the file is no zip, is damaged, lacks a member, or has a member with an unsafe name or size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _select_members(archive, patterns, count, address)
            _check_size(members, file, address)
            bar = Progress(members, desc=f"unpacking {file.name}")
            return {member.filename: _extract(archive, member, out / member.filename) for member in bar}
    except ZIP_ERRORS as error:
        raise VerificationError(f"{address}: not a sound zip archive ({error}); fetch again") from error


def _select_members(
    archive: zipfile.ZipFile, patterns: Sequence[str], count: int | None, address: str
) -> list[zipfile.ZipInfo]:
    """Return the wanted members, sorted by name, after checking that every member, wanted or not, has a safe name."""
    files: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if fault := _find_fault(member):
            raise VerificationError(f"{address}: member {member.filename!r} {fault}; nothing of it was unpacked")
        if member.filename in files:
            raise VerificationError(f"{address}: member {member.filename!r} is in it twice; nothing of it was unpacked")
        files[member.filename] = member
    names = match_names((name for name, member in files.items() if not member.is_dir()), patterns)
    require_file_count(address, names, patterns, count)
    return [files[name] for name in names]


def _find_fault(member: zipfile.ZipInfo) -> str:
    """Return what is wrong with a member, or an empty text."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name.partition("/")[0]:
        return "has an absolute path"
    if ".." in PurePosixPath(name).parts:
        return "leaves the folder by '..'"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, expected files and folders"
    return "is encrypted" if member.flag_bits & 1 else ""


def _check_size(members: Sequence[zipfile.ZipInfo], file: Path, address: str) -> None:
    """Check that the unpacked size is in proportion to the archive, and that there is room for it.

    zipfile writes no byte more than a member declares.
    """
    total, packed = sum(member.file_size for member in members), file.stat().st_size
    if total > MAX_COMPRESSION_RATIO * packed:
        raise VerificationError(
            f"{address}: {packed:,} bytes would become {total:,}; more than "
            f"{MAX_COMPRESSION_RATIO} times as many is a bomb"
        )
    require_disk_space(file.parent, total, f"unpacking {address}")


def require_disk_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Raise SlqError unless the disk of `folder` has `needed_bytes` free."""
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < needed_bytes:
        raise SlqError(
            f"{folder}: {purpose} needs {needed_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; make room"
        )


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
    """Write one member, which zipfile checks by its CRC, and return its SHA-256."""
    temporary = path.with_name(f".{path.name}.tmp")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with archive.open(member) as source, open(temporary, "wb") as target:
                while block := source.read(BLOCK_BYTES):
                    digest.update(block)
                    target.write(block)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SlqError(f"{path}: cannot be written: {error.strerror}") from error
    return digest.hexdigest()
