"""Sources of a comparison: a folder of results, a bundle, or the paper; a bundle archives one preset's results.

Bundling the same files gives the same bytes, and every file is verified by its checksum when a bundle is read.
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
BUNDLED_TABLES = ("cells.csv",)  # in paper_tables/<preset>, if rendered
EXPECTED_SOURCES = f"a folder of results (results/mini), a bundle (*{BUNDLE_SUFFIX}), or the word {PAPER}"


@contextmanager
def open_source(name: str) -> Iterator[tuple[str, Path, str]]:
    """Yield what holds runs: its kind (`folder` or `bundle`), the preset's folder, and that folder's name in messages.

    A bundle is unpacked until the context ends, and errors name the bundle instead of the temporary folder.

    Raises:
        SlqError: the source does not exist, holds no runs, or holds those of several presets.
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
        raise SlqError(f"{name}: is not there; expected {EXPECTED_SOURCES}")


def find_preset_folder(name: str, folder: Path) -> Path:
    """Return the folder itself if it is a preset's, or else the only preset's folder in it.

    Args:
        name: the source as the user gave it, for messages
        folder: the folder to search

    Raises:
        SlqError: it holds no runs, or those of several presets.
    """
    if any(folder.glob(RUN_GLOB)):
        return folder
    presets = sorted({path.parents[3] for path in folder.glob(f"*/{RUN_GLOB}")}) if folder.is_dir() else []
    if not presets:
        raise SlqError(f"{name}: holds no runs (<backbone>/<method>/seed<k>/run.json); expected {EXPECTED_SOURCES}")
    if len(presets) > 1:
        names = ", ".join(path.relative_to(folder.parent).as_posix() for path in presets)
        raise SlqError(f"{name}: holds several presets; name one of {names}")
    return presets[0]


# ---- bundles ----


def write_bundle(results: Path, out: Path, config_files: Sequence[Path] = ()) -> int:
    """Pack `results`, a preset's folder, and the cells rendered from it; return the number of packed files.

    The manifest comes first, then `config/…`, `paper_tables/<preset>/…` and `results/<preset>/…` in the order of their
    names, without owner, date or mode of their own.

    Args:
        results: the folder.
        out: the bundle.
        config_files: the configuration of the results, and the files laid over it.

    Raises:
        SlqError: `out` has another ending or lies within `results`, or a file is missing or cannot be packed.
    """
    if not out.name.endswith(BUNDLE_SUFFIX):
        raise SlqError(f"{out}: a bundle ends in {BUNDLE_SUFFIX}")
    if out.resolve().is_relative_to(results.resolve()):
        raise SlqError(f"{out}: lies within {results}, which it is to hold; write it elsewhere")
    members = list_bundle_members(results, config_files)
    checksum_lines = "".join(f"{hash_file(path)}  {name}\n" for name, path in members.items())
    buffer = io.BytesIO()
    # By default, a gzip header holds a date and a file name, and a member's header its owner.
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
        SlqError: one is a link or no regular file.
    """
    folder = results.resolve()
    tables = folder.parents[1] / "paper_tables" / folder.name
    candidates = {f"results/{folder.name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*")}
    candidates |= {
        f"paper_tables/{folder.name}/{name}": tables / name for name in BUNDLED_TABLES if (tables / name).exists()
    }
    for number, path in enumerate(config_files):
        if not path.is_file():
            raise SlqError(f"{path}: not found; a bundle holds the configuration of its results: name it with --config")
        candidates[f"config/{number}-{path.name}"] = path
    members = {}
    for name, path in sorted(candidates.items()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SlqError(f"{path}: is no regular file; a bundle holds files alone: put a copy in its place")
        if not name.isprintable():
            raise SlqError(f"{printable(path)!r}: a bundle holds names of letters that can be printed; rename it")
        if path.is_file() and not any(part.startswith(".") for part in Path(name).parts):
            members[name] = path
    return members


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # date 0, owner 0, mode 0644
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def extract_bundle(path: Path, destination: Path) -> None:
    """Unpack a bundle into an empty folder, and verify every file by the manifest.

    Nothing is written outside `destination`, whatever the archive says.

    Raises:
        SlqError: it is no bundle, or a member is damaged, missing, unknown to the manifest or unsafe; the message names
            the member.
    """
    member = MANIFEST
    names: list[str] = []
    try:
        with gzip.open(path) as gzip_file, tarfile.open(fileobj=gzip_file, mode="r:") as archive:
            for entry in archive:
                member = entry.name
                names.append(member)
                if not entry.isreg():
                    raise SlqError(f"{path}: member {member} is no regular file; not a bundle that `slq bundle` wrote")
                archive.extract(entry, destination, filter="data")
            while gzip_file.read(CHUNK_BYTES):  # to the end, where gzip verifies its own checksum
                pass
    except tarfile.FilterError as error:
        raise SlqError(f"{path}: member {member} is unsafe to unpack: {error}") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise SlqError(f"{path}: damaged at or behind member {member}: {error}; have it sent again") from error
    _verify_checksums(path, destination, names)


def _verify_checksums(path: Path, destination: Path, names: list[str]) -> None:
    """Check that the unpacked files are those of the manifest, each once and with the same checksum.

    Raises:
        SlqError: the manifest is missing, or a member is not as it says; the message names the member.
    """
    manifest = destination / MANIFEST
    if not manifest.is_file():
        raise SlqError(f"{path}: holds no {MANIFEST}; expected an archive that `slq bundle` wrote")
    checksums = {name: digest for digest, _, name in (line.partition("  ") for line in read_text_lines(manifest))}
    extracted = [name for name in names if name != MANIFEST]
    for name in sorted({*checksums, *extracted}):
        if extracted.count(name) != 1:
            raise SlqError(f"{path}: member {name} is there {extracted.count(name)} times; expected once")
        if name not in checksums:
            raise SlqError(f"{path}: member {name} is not in {MANIFEST}; have the bundle sent again")
        if hash_file(destination / name) != checksums[name]:
            raise SlqError(f"{path}: member {name} is not what {MANIFEST} says; have the bundle sent again")
