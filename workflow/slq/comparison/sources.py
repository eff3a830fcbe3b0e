"""What can be compared: a folder of results, an archive of one, or the paper."""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from slq.errors import SlqError

PAPER = "paper"
BLOCK = 2**20
RUNS = "*/*/seed*/run.json"  # of a preset's folder
KINDS = f"a folder of results (results/mini), a .tar.gz of one, or the word {PAPER}"


@contextmanager
def opened(name: str) -> Iterator[tuple[str, Path, str]]:
    """What holds runs: its kind, `folder` or `archive`, the preset's folder, and how messages name that.

    What is unpacked is there until the context ends, and errors name the archive instead.

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
                unpack(Path(name), root)
                folder = preset_folder(name, root / "results" if (root / "results").is_dir() else root)
                yield "archive", folder, f"{name}:{folder.relative_to(root).as_posix()}"
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
    presets = sorted({path.parents[3] for path in folder.glob(f"*/{RUNS}")})
    if not presets:
        raise SlqError(f"{name}: holds no runs (<backbone>/<method>/seed<k>/run.json); expected {KINDS}")
    if len(presets) > 1:
        names = ", ".join(path.relative_to(folder.parent).as_posix() for path in presets)
        raise SlqError(f"{name}: holds several presets; name one of {names}")
    return presets[0]


def unpack(path: Path, into: Path) -> None:
    """Unpack a gzipped tar; nothing is written outside `into`, whatever the archive says.

    Raises:
        SlqError: it is none, is damaged, or a member is unsafe to unpack.
    """
    try:
        with gzip.open(path) as squeezed, tarfile.open(fileobj=squeezed, mode="r:") as archive:
            archive.extractall(into, filter="data")
            while squeezed.read(BLOCK):  # to the end, where gzip checks its own sum
                pass
    except tarfile.FilterError as error:
        raise SlqError(f"{path}: is unsafe to unpack: {error}") from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise SlqError(f"{path}: no gzipped tar, or damaged: {error}; have it sent again") from error
