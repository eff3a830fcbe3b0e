"""What can be compared: a folder of results, a bundle, or the paper; a bundle is one preset's results in one archive.

The same files are the same bytes of a bundle, and every byte is proved when it is read.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from slq.common.errors import SlqError
from slq.common.files import read_json, sha256, write_bytes
from slq.evaluation.freshness import MEASURED
from slq.results.stale import StaleFiles

PAPER = "paper"
ENDING = ".tar.gz"
MANIFEST = "MANIFEST.sha256"
BLOCK = 2**20
TABLES = ("cells.csv",)  # of paper_tables/<preset>, where they are rendered
RUNS = "*/*/seed*/run.json"  # of a preset's folder
KINDS = f"a folder of results (results/mini), a bundle (*{ENDING}), or the word {PAPER}"


@contextmanager
def opened(name: str) -> Iterator[tuple[str, Path, str]]:
    """What holds runs: its kind, `folder` or `bundle`, the preset's folder, and how messages name that.

    What is unpacked is there until the context ends, and errors name the bundle instead.

    Raises:
        SlqError: there is no such thing, it holds no runs, or those of several presets.
    """
    if Path(name).is_dir():
        # Of `.` only the whole path has the preset's name.
        folder = preset_folder(name, Path(name) if Path(name).name.strip(".") else Path(name).resolve())
        yield "folder", folder, folder.as_posix()
    elif Path(name).is_file():
        with TemporaryDirectory(prefix="slq-") as temporary:
            root = Path(temporary).resolve()
            try:
                read_bundle(Path(name), root)
                folder = preset_folder(name, root / "results")
                yield "bundle", folder, f"{name}:{folder.relative_to(root).as_posix()}"
            except SlqError as error:
                raise SlqError(str(error).replace(root.as_posix(), name)) from error
    else:
        raise SlqError(f"{name}: is not there; expected {KINDS}")


def preset_folder(name: str, folder: Path) -> Path:
    """The folder itself if it is a preset's, or the only one in it that is.

    Raises:
        SlqError: it holds no runs, or those of several presets.
    """
    if any(folder.glob(RUNS)):
        return folder
    presets = sorted({path.parents[3] for path in folder.glob(f"*/{RUNS}")}) if folder.is_dir() else []
    if not presets:
        raise SlqError(f"{name}: holds no runs (<backbone>/<method>/seed<k>/run.json); expected {KINDS}")
    if len(presets) > 1:
        names = ", ".join(path.relative_to(folder.parent).as_posix() for path in presets)
        raise SlqError(f"{name}: holds several presets; name one of {names}")
    return presets[0]


# ---- bundles ----


def write_bundle(results: Path, out: Path) -> int:
    """Pack `results`, a preset's folder, with the cells rendered from it; the number of files packed.

    Members are `results/<preset>/…` and `paper_tables/<preset>/…` in the order of their names, after the manifest, with
    no owner, date or mode of their own.

    Raises:
        SlqError: `out` has another ending or lies within `results`, or a file cannot be packed.
    """
    if not out.name.endswith(ENDING):
        raise SlqError(f"{out}: a bundle ends in {ENDING}")
    if out.resolve().is_relative_to(results.resolve()):
        raise SlqError(f"{out}: lies within {results}, which it is to hold; write it elsewhere")
    members = bundled(results)
    lines = "".join(f"{sha256(path)}  {name}\n" for name, path in members.items())
    packed = io.BytesIO()
    # The header of gzip would hold a date and the file's name, that of a member its owner.
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, MANIFEST, lines.encode())
        for name, path in members.items():
            _add(archive, name, path.read_bytes())
    write_bytes(out, packed.getvalue())
    return len(members)


def bundled(results: Path) -> dict[str, Path]:
    """The files of a bundle by their names in it, sorted; without hidden ones, which are a writer's unfinished work.

    Raises:
        SlqError: one is a link or no regular file.
    """
    folder = results.resolve()
    tables = folder.parents[1] / "paper_tables" / folder.name
    found = {f"results/{folder.name}/{path.relative_to(folder).as_posix()}": path for path in folder.rglob("*")}
    found |= {f"paper_tables/{folder.name}/{name}": tables / name for name in TABLES if (tables / name).exists()}
    members = {}
    for name, path in sorted(found.items()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise SlqError(f"{path}: is no regular file; a bundle holds files alone: put a copy in its place")
        if path.is_file() and not any(part.startswith(".") for part in Path(name).parts):
            members[name] = path
    return members


def standing(results: Path) -> StaleFiles:
    """Say which metrics files that are packed are stale or cannot be checked: a bundle holds what is there.

    Raises:
        SlqError: a metrics file cannot be read.
    """
    found = StaleFiles(results.parent)
    for path in (path for kind in MEASURED for path in results.rglob(f"{kind}/*.json")):
        content = read_json(path)
        if isinstance(content, dict):
            try:
                found.of(path, content)
            except SlqError as error:  # of another version, or its ranks or answers cannot be read
                found.unchecked[path.relative_to(results.parent).as_posix()] = f"({error})"
    return found


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # date 0, owner 0, mode 0644
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def read_bundle(path: Path, into: Path) -> None:
    """Unpack a bundle into an empty folder, and prove every file by the manifest.

    Nothing is written outside `into`, whatever the archive says.

    Raises:
        SlqError: it is no bundle, a member is damaged, missing, foreign or unsafe; names the member.
    """
    member = MANIFEST
    names: list[str] = []
    try:
        with gzip.open(path) as squeezed, tarfile.open(fileobj=squeezed, mode="r:") as archive:
            for entry in archive:
                member = entry.name
                names.append(member)
                if not entry.isreg():
                    raise SlqError(f"{path}: member {member} is no regular file; not a bundle that `slq bundle` wrote")
                archive.extract(entry, into, filter="data")
            while squeezed.read(BLOCK):  # to the end, where gzip checks its own sum
                pass
    except tarfile.FilterError as error:
        raise SlqError(f"{path}: member {member} is unsafe to unpack: {error}") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise SlqError(f"{path}: damaged at or behind member {member}: {error}; have it sent again") from error
    _prove(path, into, names)


def _prove(path: Path, into: Path, names: list[str]) -> None:
    manifest = into / MANIFEST
    if not manifest.is_file():
        raise SlqError(f"{path}: holds no {MANIFEST}; expected an archive that `slq bundle` wrote")
    lines = manifest.read_bytes().decode("utf-8", errors="replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = [name for name in names if name != MANIFEST]
    for name in sorted({*listed, *there}):
        if there.count(name) != 1:
            raise SlqError(f"{path}: member {name} is there {there.count(name)} times; expected once")
        if name not in listed:
            raise SlqError(f"{path}: member {name} is not in {MANIFEST}; have the bundle sent again")
        if sha256(into / name) != listed[name]:
            raise SlqError(f"{path}: member {name} is not what {MANIFEST} says; have the bundle sent again")
