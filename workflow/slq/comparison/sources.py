"""What can be compared: a folder of results, a bundle, a revision of git that tracks results, or the paper."""

import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from slq.comparison.bundle import ENDING, read_bundle
from slq.errors import SlqError

PAPER = "paper"
GIT = "git:"
RUNS = "*/*/seed*/run.json"  # of a preset's folder
KINDS = f"a folder of results (results/mini), a bundle (*{ENDING}), {GIT}REVISION[:FOLDER], or the word {PAPER}"


@dataclass(frozen=True)
class Source:
    """One side of a comparison, to be read.

    name: as it was asked for; kind: `folder`, `bundle`, `git` or `paper`
    folder: of the preset's results, None of the paper; place: how files in it are named
    """

    name: str
    kind: str
    folder: Path | None
    place: str


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """The source of this name; what it unpacks is there until the context ends, and errors name the source instead.

    Raises:
        SlqError: there is no such source, it holds no runs, or those of several presets.
    """
    if name == PAPER:
        yield Source(name, "paper", None, "paper_tables/reference")
    elif Path(name).is_dir() and not name.startswith(GIT):
        # Of `.` only the whole path has the preset's name.
        given = Path(name) if Path(name).name.strip(".") else Path(name).resolve()
        folder = preset_folder(name, given)
        yield Source(name, "folder", folder, folder.as_posix())
    else:
        with TemporaryDirectory(prefix="slq-") as temporary:
            root = Path(temporary).resolve()
            try:
                kind, place = _unpack(name, root)
                folder = preset_folder(place, root / "results")
                yield Source(name, kind, folder, f"{place}:{folder.relative_to(root).as_posix()}")
            except SlqError as error:
                raise SlqError(str(error).replace(root.as_posix(), place_of(name))) from error


def place_of(name: str) -> str:
    """How messages name what a source holds: a revision without its folder, which the path of a file has."""
    return ":".join(name.split(":")[:2]) if name.startswith(GIT) else name


def _unpack(name: str, root: Path) -> tuple[str, str]:
    """Bring a source's files to `root`/results/<preset>; its kind and its name for messages."""
    if Path(name).is_file():
        read_bundle(Path(name), root)
        return "bundle", name
    revision, _, inner = name.removeprefix(GIT).partition(":")
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if commit is None:
        raise SlqError(f"{name}: is not there, and no revision of git here; expected {KINDS}")
    _checkout(name, commit, inner.strip("/") or "results", root)
    return "git", place_of(name)


def _checkout(name: str, commit: str, inner: str, root: Path) -> None:
    """A tracked folder, results or one preset's, as a commit has it."""
    top, archive = _git("rev-parse", "--show-toplevel"), root / "archive.tar"
    if top is None or _git("-C", top, "archive", f"--output={archive}", commit, "--", inner) is None:
        raise SlqError(f"{name}: this revision tracks no {inner}; results are ignored by git unless added by force")
    with tarfile.open(archive) as packed:
        packed.extractall(root / "tree", filter="data")
    found, target = root / "tree" / inner, root / "results"
    if any(found.glob(RUNS)):
        target.mkdir()
        target = target / found.name
    found.rename(target)


def _git(*arguments: str) -> str | None:
    """What git answers, None if it refuses.

    Raises:
        SlqError: git is not installed.
    """
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise SlqError(f"git cannot be run: {error.strerror}; compare with a folder or a bundle") from error
    return answer.stdout.strip() if answer.returncode == 0 else None


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
