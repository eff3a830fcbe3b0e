"""The identity of the package's code, by rule: an edit re-runs what depends on it (comments re-run nothing).

A rule names the modules whose functions its command calls (slq/cli.py); all that these import follows. Fetching names
none: no edit is worth a second download. A fingerprint is computed from files: nothing is imported, as every cluster
job asks for one.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# Modules that change no result of a job, with the reason. What only reads results counts them all, as it reports what
# some of them wrote, and is done in seconds.
EXEMPT = {
    "slq.common.errors": "words of messages",
    "slq.common.events": "notes beside a job: times, devices, energy, versions and the commit",
    "slq.common.attempts": "reads these notes; hours are counted again from them by what reports",
    "slq.training.job": "when a process trains, and never what: a lock, a deadline, Slurm's queue",
    "slq.common.fingerprint": "names code, and is part of no result",
}
READERS = {"cost", "reporting", "claims"}


@dataclass(frozen=True)
class Module:
    """What a file says of itself.

    Attributes:
        sha256: of its syntax tree, without docstrings and positions.
        imports: names that it imports of the package, anywhere in it: `slq.a.b`, or `slq.a.b.c` of what b may hold.
        rooms: packages whose modules it imports by file name: `import_module(f"slq.a.{name}")`.
        files: places beside it that it reads: `Path(__file__).parent / "name"`.
    """

    sha256: str
    imports: tuple[str, ...]
    rooms: tuple[str, ...]
    files: tuple[str, ...]


def fingerprint(*entries: str, package: Path = PACKAGE, **used: Collection[str] | None) -> str:
    """Hash what modules of the package do, with all that they import of it.

    Args:
        entries: modules, `slq.a.b`.
        used: `families` and `dual_encoders`, adapters that are used; without them whichever there are. Others do not
            count: one more makes no run out of date.
    """
    digest = hashlib.sha256()
    for name in closure(*entries, package=package, **used):
        path = _path(name, package)
        assert path is not None
        module = _read(path)
        digest.update(f"{name}\n{module.sha256}\n".encode())
        for place in module.files:
            digest.update(f"{place}\n{_content(path.parent / place)}\n".encode())
    return digest.hexdigest()[:16]


def closure(*entries: str, package: Path = PACKAGE, **used: Collection[str] | None) -> list[str]:
    """Names of the entries and of all modules that they import, directly or not, in order; arguments as above."""
    exempt: Mapping[str, str] = {} if all(entry.split(".")[1] in READERS for entry in entries) else EXEMPT
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        path = _path(name, package)
        if path is None:  # a name that a module holds
            name = name.rpartition(".")[0]
            path = _path(name, package)
        if path is None:
            raise ValueError(f"{name}: no such module under {package}")
        if name in found or (name in exempt and name not in entries):
            continue
        found.add(name)
        module = _read(path)
        waiting += [name.rpartition(".")[0]] * (name != "slq") + list(module.imports)
        for room in module.rooms:
            members = used.get(room.rpartition(".")[2])
            waiting += [f"{room}.{one}" for one in (_members(room, package) if members is None else members)]
    return sorted(found)


@cache
def _path(name: str, package: Path) -> Path | None:
    """The file of a module, or of a package's own."""
    place = package.joinpath(*name.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _members(room: str, package: Path) -> list[str]:
    return sorted(path.stem for path in package.joinpath(*room.split(".")[1:]).glob("[!_]*.py"))


@cache
def _content(path: Path) -> str:
    """Hash of a file, or of the files under a folder that are no modules."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    kept = [file for file in files if file.is_file() and file.suffix not in (".py", ".pyc")]
    said = [f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in kept]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


@cache
def _read(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imports: dict[str, None] = {}
    rooms: dict[str, None] = {}
    files: dict[str, None] = {}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] == "slq":
                imports.update(dict.fromkeys(f"{module}.{alias.name}" for alias in node.names))
            case ast.Import():
                imports.update({alias.name: None for alias in node.names if alias.name.partition(".")[0] == "slq"})
            case ast.Call(
                func=ast.Attribute(attr="import_module"),
                args=[ast.JoinedStr(values=[ast.Constant(value=str(start)), *_])],
            ):
                rooms[start.removesuffix(".")] = None
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(place))):
                if ast.unparse(left) == "Path(__file__).parent":
                    files[place] = None
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    del node.body[0]
    digest = hashlib.sha256("\n".join(_words(tree)).encode()).hexdigest()
    return Module(digest, tuple(imports), tuple(rooms), tuple(files))


def _words(node: object) -> Iterator[str]:
    """A syntax tree in words; fields without a value are left out, as versions of Python differ in which there are."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for field in node._fields:
            value = getattr(node, field, None)
            if field != "ctx" and value is not None and value != []:
                yield f"{field}="
                yield from _words(value)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _words(item)
        yield "]"
    else:
        yield repr(node)
