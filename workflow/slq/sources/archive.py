"""Safe unpacking of zip archives: every path must stay inside the folder, and the unpacked size is limited."""

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
# Unpacked bytes per packed byte. Text has 3 to 20 and images about 1; a zip bomb has 1,000 or more.
MAX_COMPRESSION_RATIO = 100
# Exceptions that zipfile raises for a damaged archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def unpack(file: Path, out: Path, patterns: Sequence[str], count: int | None, address: str) -> dict[str, str]:
    """Unpack the members of an archive that match the patterns, each under a temporary name first.

    Args:
        file: the archive.
        out: folder to unpack into.
        patterns: patterns over member paths.
        count: number of members that must match; None for any number above 0.
        address: origin of the archive, for messages.

    Returns:
        The SHA-256 of every unpacked file, by path.

    Raises:
        SlqError: the file is not a zip archive, is damaged, lacks a member, or has an unsafe member name or size.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _select_members(archive, patterns, count, address)
            _check_size(members, file, address)
            bar = Progress(members, desc=f"unpacking {file.name}")
            return {member.filename: _extract(archive, member, out / member.filename) for member in bar}
    except ZIP_ERRORS as error:
        raise VerificationError(f"{address}: not a valid zip archive ({error}); fetch it again") from error


def _select_members(
    archive: zipfile.ZipFile, patterns: Sequence[str], count: int | None, address: str
) -> list[zipfile.ZipInfo]:
    """Check that every member has a safe name; return the members that match the patterns, sorted by name."""
    files: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if fault := _find_fault(member):
            raise VerificationError(f"{address}: member {member.filename!r} {fault}; nothing was unpacked")
        if member.filename in files:
            raise VerificationError(f"{address}: member {member.filename!r} appears twice; nothing was unpacked")
        files[member.filename] = member
    names = match_names((name for name, member in files.items() if not member.is_dir()), patterns)
    require_file_count(address, names, patterns, count)
    return [files[name] for name in names]


def _find_fault(member: zipfile.ZipInfo) -> str:
    """Return the fault of a member, or an empty string if it has none."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or "\\" in name or ":" in name.partition("/")[0]:
        return "has an absolute path"
    if ".." in PurePosixPath(name).parts:
        return "has a path with '..', which leaves the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device; expected files and folders"
    return "is encrypted" if member.flag_bits & 1 else ""


def _check_size(members: Sequence[zipfile.ZipInfo], file: Path, address: str) -> None:
    """Check that the unpacked size is plausible for the archive and fits on the disk.

    The declared sizes can be trusted, because zipfile never writes more bytes than a member declares.
    """
    total, packed = sum(member.file_size for member in members), file.stat().st_size
    if total > MAX_COMPRESSION_RATIO * packed:
        raise VerificationError(
            f"{address}: {packed:,} bytes would unpack to {total:,}, which is more than {MAX_COMPRESSION_RATIO} times "
            "as many; refused as a possible zip bomb"
        )
    require_disk_space(file.parent, total, f"unpacking {address}")


def require_disk_space(folder: Path, needed_bytes: int, purpose: str) -> None:
    """Check that the disk of `folder` has `needed_bytes` of free space."""
    disk = os.statvfs(folder)
    if (free := disk.f_bavail * disk.f_frsize) < needed_bytes:
        raise SlqError(
            f"{folder}: {purpose} needs {needed_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; free disk space"
        )


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
    """Write one member and return its SHA-256; zipfile checks the member's CRC."""
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
