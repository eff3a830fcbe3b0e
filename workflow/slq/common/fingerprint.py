"""Fingerprints of the package's code, one per rule: an edit re-runs the jobs that depend on it, a comment none.

A rule names the modules whose functions its command calls (slq/cli.py); all modules that these import are included. The
rules that fetch name none, as no edit is worth a second download. A fingerprint is computed from source files without
importing them, as every cluster job computes one.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# Modules that cannot change the result of a job, with the reason. Code that only reads results includes them all in its
# fingerprint, as it reports what some of them wrote, and takes only seconds.
EXEMPT_MODULES = {
    "slq.common.errors": "words of messages",
    "slq.common.events": "notes beside a job: times, devices, energy, versions and the commit",
    "slq.common.attempts": "reads these notes; hours are counted again from them by what reports",
    "slq.training.job": "when a process trains, and never what: a lock, a deadline, Slurm's queue",
    "slq.common.fingerprint": "names code, and is part of no result",
    "slq.methods.plan": "sizes from which cost is computed; nothing is trained or evaluated by them",
}
REPORTING_PACKAGES = {"cost", "reporting", "claims"}


@dataclass(frozen=True)
class SourceModule:
    """The facts about a source file that its fingerprint needs.

    Attributes:
        syntax_sha256: SHA-256 of its syntax tree, without docstrings and positions.
        imports: names that it imports from the package, anywhere in it: `slq.a.b`, or `slq.a.b.c`, where c may be a
            name in the module b.
        adapter_packages: packages whose modules it imports by file name: `import_module(f"slq.a.{name}")`.
        data_files: files or folders beside it that it reads: `Path(__file__).parent / "name"`.
    """

    syntax_sha256: str
    imports: tuple[str, ...]
    adapter_packages: tuple[str, ...]
    data_files: tuple[str, ...]


def source_fingerprint(*entries: str, package: Path = PACKAGE, **used_adapters: Collection[str] | None) -> str:
    """Hash the code of modules of the package and of all modules that they import from it.

    Args:
        entries: module names, `slq.a.b`.
        package: the folder of the package.
        used_adapters: `families`, `dual_encoders` and `methods`, those that are used; by default all that exist. Other
            ones are not hashed, so that adding one makes no run out of date.
    """
    digest = hashlib.sha256()
    for name in import_closure(*entries, package=package, **used_adapters):
        path = _module_path(name, package)
        assert path is not None
        module = _parse_module(path)
        digest.update(f"{name}\n{module.syntax_sha256}\n".encode())
        for data_file in module.data_files:
            digest.update(f"{data_file}\n{_hash_data_files(path.parent / data_file)}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(*entries: str, package: Path = PACKAGE, **used_adapters: Collection[str] | None) -> list[str]:
    """List the names of the entries and of all modules that they import, directly or not, sorted.

    The arguments are those of `source_fingerprint`.

    Raises:
        ValueError: a name is no module of the package, nor held by one.
    """
    exempt: Mapping[str, str] = (
        {} if all(entry.split(".")[1] in REPORTING_PACKAGES for entry in entries) else EXEMPT_MODULES
    )
    found: set[str] = set()
    pending = list(entries)
    while pending:
        name = pending.pop()
        path = _module_path(name, package)
        if path is None:  # a name in a module
            name = name.rpartition(".")[0]
            path = _module_path(name, package)
        if path is None:
            raise ValueError(f"{name}: no such module under {package}")
        if name in found or (name in exempt and name not in entries):
            continue
        found.add(name)
        module = _parse_module(path)
        pending += [name.rpartition(".")[0]] * (name != "slq") + list(module.imports)
        for adapter_package in module.adapter_packages:
            members = used_adapters.get(adapter_package.rpartition(".")[2])
            pending += [
                f"{adapter_package}.{one}"
                for one in (_package_modules(adapter_package, package) if members is None else members)
            ]
    return sorted(found)


@cache
def _module_path(name: str, package: Path) -> Path | None:
    """Return the file of a module, or the __init__.py of a package; None if there is neither."""
    base = package.joinpath(*name.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _package_modules(package_name: str, package: Path) -> list[str]:
    """List the names of a package's modules, except those that begin with an underscore."""
    return sorted(path.stem for path in package.joinpath(*package_name.split(".")[1:]).glob("[!_]*.py"))


@cache
def _hash_data_files(path: Path) -> str:
    """Hash a file, or all files under a folder except Python modules."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    data_files = [file for file in files if file.is_file() and file.suffix not in (".py", ".pyc")]
    lines = [f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in data_files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def _parse_module(path: Path) -> SourceModule:
    """Parse a source file and collect what its fingerprint needs."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    imports: dict[str, None] = {}
    adapter_packages: dict[str, None] = {}
    data_files: dict[str, None] = {}
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
                adapter_packages[start.removesuffix(".")] = None
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(place))):
                if ast.unparse(left) == "Path(__file__).parent":
                    data_files[place] = None
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    del node.body[0]
    digest = hashlib.sha256("\n".join(_syntax_tokens(tree)).encode()).hexdigest()
    return SourceModule(digest, tuple(imports), tuple(adapter_packages), tuple(data_files))


def _syntax_tokens(node: object) -> Iterator[str]:
    """Yield the tokens of a syntax tree, without empty fields, as versions of Python differ in which fields exist."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for field in node._fields:
            value = getattr(node, field, None)
            if field != "ctx" and value is not None and value != []:
                yield f"{field}="
                yield from _syntax_tokens(value)
        yield ")"
    elif isinstance(node, list):
        for item in node:
            yield from _syntax_tokens(item)
        yield "]"
    else:
        yield repr(node)
