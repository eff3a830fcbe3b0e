"""Sources of a comparison (a folder of results, a bundle, or the paper), and the archive format of a bundle.

A bundle archives the results of one preset. The same files give a bundle with the same bytes. Reading a bundle verifies
the checksum of every file.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from slq.common.errors import SlqError
from slq.common.files import hash_file, printable, read_text_lines, write_bytes
from slq.results.layout import RUN_GLOB

PAPER = "paper"
BUNDLE_SUFFIX = ".tar.gz"
MANIFEST = "MANIFEST.sha256"
CHUNK_BYTES = 2**20
BUNDLED_TABLES = ("cells.csv",)  # files in paper_tables/<preset> that are packed if they exist
EXPECTED_SOURCES = f"a folder of results (results/mini), a bundle (*{BUNDLE_SUFFIX}), or the word {PAPER}"


@contextmanager
def open_source(name: str) -> Iterator[tuple[str, Path, str]]:
    """Open a source with runs; yield its kind (`folder` or `bundle`), the preset's folder, and its name in messages.

    A bundle is unpacked into a temporary folder for the duration of the context. Errors name the bundle instead of the
    temporary folder.
    """
    if Path(name).is_dir():
        # The name of `.` is empty: only the resolved path ends in the preset's name.
        folder = find_preset_folder(name, Path(name) if Path(name).name.strip(".") else Path(name).resolve())
        yield "folder", folder, folder.as_posix()
    elif Path(name).is_file():
        with TemporaryDirectory(prefix="slq-") as temporary:
            root = Path(temporary).resolve()
            try:
                extract_bundle(Path(name), root)
                folder = find_preset_folder(name, root / "results")
                yield "bundle", folder, f"{name}:{folder.relative_to(root).as_posix()}"
            except SlqError as error:
                raise SlqError(str(error).replace(root.as_posix(), name)) from error
    else:
        raise SlqError(f"{name}: does not exist; expected {EXPECTED_SOURCES}")


def find_preset_folder(name: str, folder: Path) -> Path:
    """Return the folder itself if it is a preset's folder, otherwise the only preset's folder inside it.

    Args:
        name: the source as the user gave it, for messages
        folder: the folder to search

    Raises:
        SlqError: there are no runs, or runs of several presets.
    """
    if has_runs(folder):
        return folder
    presets = sorted({path.parents[3] for path in folder.glob(f"*/{RUN_GLOB}")}) if folder.is_dir() else []
    if not presets:
        raise SlqError(f"{name}: contains no <backbone>/<method>/seed<k>/run.json; expected {EXPECTED_SOURCES}")
    if len(presets) > 1:
        names = ", ".join(path.relative_to(folder.parent).as_posix() for path in presets)
        raise SlqError(f"{name}: contains several presets; choose one of {names}")
    return presets[0]


def has_runs(preset_folder: Path) -> bool:
    """Return whether a preset's folder contains a run."""
    return any(preset_folder.glob(RUN_GLOB))


# ---- bundles ----


def write_bundle(results: Path, out: Path, config_files: Sequence[Path] = ()) -> int:
    """Pack a preset's folder and the cells rendered from it; return the number of packed files.

    The manifest comes first, then `config/…`, `paper_tables/<preset>/…` and `results/<preset>/…`, sorted by name. All
    members have the same owner, date and mode.

    Args:
        results: the preset's folder.
        out: the bundle to write.
        config_files: the configuration of the results, and the files that override parts of it.
    """
    if not out.name.endswith(BUNDLE_SUFFIX):
        raise SlqError(f"{out}: the name of a bundle must end in {BUNDLE_SUFFIX}")
    if out.resolve().is_relative_to(results.resolve()):
        raise SlqError(f"{out}: is inside {results}, the folder to pack; write the bundle elsewhere")
    members = list_bundle_members(results, config_files)
    checksum_lines = "".join(f"{hash_file(path)}  {name}\n" for name, path in members.items())
    buffer = io.BytesIO()
    # The defaults would put a date and a file name into the gzip header, and the owner into a member's header.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as gzip_file,
        tarfile.open(fileobj=gzip_file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add_member(archive, MANIFEST, checksum_lines.encode())
        for name, path in members.items():
            _add_member(archive, name, path.read_bytes())
    write_bytes(out, buffer.getvalue())
    return len(members)


def list_bundle_members(results: Path, config_files: Sequence[Path] = ()) -> dict[str, Path]:
    """Return the files of a bundle by their names in it, sorted.

    Hidden files, which are unfinished writes, are left out.

    Raises:
        SlqError: a file is a link or not a regular file.
    """
    folder = results.resolve()
    tables = folder.parents[1] / "paper_tables" / folder.name
    candidates = {f"results/{folder.name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*")}
    candidates |= {
        f"paper_tables/{folder.name}/{name}": tables / name for name in BUNDLED_TABLES if (tables / name).exists()
    }
    for number, path in enumerate(config_files):
        if not path.is_file():
            raise SlqError(f"{path}: does not exist; a bundle needs the configuration of its results (--config)")
        candidates[f"config/{number}-{path.name}"] = path
    members = {}
    for name, path in sorted(candidates.items()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SlqError(f"{path}: not a regular file; a bundle contains only regular files: replace it with a copy")
        if not name.isprintable():
            raise SlqError(f"{printable(path)!r}: the name has unprintable characters; rename the file")
        if path.is_file() and not any(part.startswith(".") for part in Path(name).parts):
            members[name] = path
    return members


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # date 0, owner 0, mode 0644
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def extract_bundle(path: Path, destination: Path) -> None:
    """Unpack a bundle into an empty folder, and verify every file against the manifest.

    Nothing is written outside `destination`, even if the archive is malicious.

    Raises:
        SlqError: the file is not a bundle, or a member is damaged, missing, not in the manifest or unsafe; the message
            names the member.
    """
    member = MANIFEST
    names: list[str] = []
    try:
        with gzip.open(path) as gzip_file, tarfile.open(fileobj=gzip_file, mode="r:") as archive:
            for entry in archive:
                member = entry.name
                names.append(member)
                if not entry.isreg():
                    raise SlqError(f"{path}: member {member} is not a regular file; expected a bundle of `slq bundle`")
                archive.extract(entry, destination, filter="data")
            while gzip_file.read(CHUNK_BYTES):  # read to the end, where gzip verifies its own checksum
                pass
    except tarfile.FilterError as error:
        raise SlqError(f"{path}: member {member} is unsafe to unpack: {error}") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise SlqError(f"{path}: damaged at or after member {member}: {error}; get a new copy") from error
    _verify_checksums(path, destination, names)


def _verify_checksums(path: Path, destination: Path, names: list[str]) -> None:
    """Check that the unpacked files are exactly those of the manifest, each once and with the same checksum."""
    manifest = destination / MANIFEST
    if not manifest.is_file():
        raise SlqError(f"{path}: contains no {MANIFEST}; expected a bundle of `slq bundle`")
    checksums = {name: digest for digest, _, name in (line.partition("  ") for line in read_text_lines(manifest))}
    extracted = [name for name in names if name != MANIFEST]
    for name in sorted({*checksums, *extracted}):
        if extracted.count(name) != 1:
            raise SlqError(f"{path}: member {name} occurs {extracted.count(name)} times; expected once")
        if name not in checksums:
            raise SlqError(f"{path}: member {name} is not in {MANIFEST}; get a new copy of the bundle")
        if hash_file(destination / name) != checksums[name]:
            raise SlqError(f"{path}: checksum of member {name} differs from {MANIFEST}; get a new copy of the bundle")
