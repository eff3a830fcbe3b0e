"""Fingerprints of the package's code, one per job: an edit re-runs the jobs that depend on it, a comment none.

A job's entry is its function (slq/jobs.py); all modules that this function's module imports, directly or not, are
included. A registry imports its members by name: of these, only the ones that the job uses are included. A fingerprint
is computed from source files without importing them, as every cluster job computes one.
"""

import ast
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
JOBS_PREFIX = "slq.jobs:"
# Modules that cannot change the result of a job, with the reason. Code that only reads results includes them all in its
# fingerprint, as it reports what some of them wrote, and takes only seconds.
EXEMPT_MODULES = {
    "slq.common.errors": "words of messages",
    "slq.common.events": "notes beside a job: times, devices, energy, versions and the commit",
    "slq.common.attempts": "reads these notes; hours are counted again from them by what reports",
    "slq.training.job": "when a process trains, and never what: a lock, a deadline, Slurm's queue",
    "slq.common.fingerprint": "names code, and is part of no result",
    "slq.common.parameters": "carries the parameters, which are a trigger themselves",
    "slq.methods.plan": "what a method costs, and never what it learns",
    "slq.jobs": "calls functions; of an entry in it, the function counts",
}
REPORTING_PACKAGES = {"cost", "reporting", "claims"}
# By registry, members of its classes that change no result of a job (and names that begin with one and an underscore):
# of a method how it looks, what it costs, how it is exported; of a kind of baselines what only makes its settings.
IGNORED_MEMBERS = {
    "slq.methods": ("label", "color", "plan", "export", "card"),
    "slq.baselines.kinds": ("schema", "table_group", "describe", "inputs", "settings"),
}
UNREPORTED_MEMBERS = {"slq.methods": ("build", "export")}  # the same for jobs that only read results


@dataclass(frozen=True)
class SourceModule:
    """The facts about a source file that its fingerprint needs.

    Attributes:
        syntax_sha256: SHA-256 of its syntax tree, without docstrings and positions.
        imports: names that it imports from the package, anywhere in it: `slq.a.b`, or `slq.a.b.c`, where c may be a
            name in the module b.
        registries: packages whose modules it imports by file name: `import_module(f"slq.a.{name}")`.
        data_files: files or folders beside it that it reads: `Path(__file__).parent / "name"`.
    """

    syntax_sha256: str
    imports: tuple[str, ...]
    registries: tuple[str, ...]
    data_files: tuple[str, ...]


def fingerprint(*entries: str, package: Path = PACKAGE, **members: Collection[str] | None) -> str:
    """Hash the code of a job: its functions' modules, and all modules that they import.

    Args:
        entries: functions, `slq.a.b:function`, or modules, `slq.a.b`. Of an entry in `slq.jobs`, which lists all jobs,
            only the function itself counts.
        package: the folder of the package.
        members: of each registry, by the name of its folder (`families`, `dual_encoders`, `methods`, `kinds`), the
            members that the job uses; by default all. Others are not hashed, so that adding one makes no run out of
            date.
    """
    digest = hashlib.sha256()
    for name in import_closure(*entries, package=package, **members):
        path, module = _read_module(name, package, reads_results_only(*entries))
        digest.update(f"{name}\n{module.syntax_sha256}\n".encode())
        for data_file in module.data_files:
            digest.update(f"{data_file}\n{_hash_data_files(path.parent / data_file)}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(*entries: str, package: Path = PACKAGE, **members: Collection[str] | None) -> list[str]:
    """List the names of the entries' modules and of all modules that they import, directly or not, sorted.

    A function of `slq.jobs` is listed as `slq.jobs:function`. The arguments are those of `fingerprint`.

    Raises:
        ValueError: a name is no module of the package, nor held by one.
    """
    names = [entry if entry.startswith(JOBS_PREFIX) else entry.partition(":")[0] for entry in entries]
    only_reports = reads_results_only(*entries)
    exempt: Mapping[str, str] = {} if only_reports else EXEMPT_MODULES
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if _module_path(name, package) is None:  # a name in a module
            name = name.rpartition(".")[0]
        if name in found or (name in exempt and name not in names):
            continue
        _, module = _read_module(name, package, only_reports)
        found.add(name)
        pending += [name.rpartition(".")[0]] * (name != "slq" and ":" not in name) + list(module.imports)
        for registry in module.registries:
            used = members.get(registry.rpartition(".")[2])
            pending += [f"{registry}.{one}" for one in (_package_modules(registry, package) if used is None else used)]
    return sorted(found)


def reads_results_only(*entries: str) -> bool:
    """Return whether a job only reads results: nothing is exempt of it; labels of methods and messages count too."""
    return all(entry.split(".")[1] in REPORTING_PACKAGES for entry in entries)


def _read_module(name: str, package: Path, only_reports: bool) -> tuple[Path, SourceModule]:
    """Return the file and the facts of a module, or of a function of `slq.jobs`.

    Raises:
        ValueError: the package has no such module.
    """
    path = _module_path(name, package)
    if path is None:
        raise ValueError(f"{name}: no such module under {package}")
    ignored = (UNREPORTED_MEMBERS if only_reports else IGNORED_MEMBERS).get(name.rpartition(".")[0], ())
    return path, _parse_module(path, name.partition(":")[2], ignored, only_reports)


@cache
def _module_path(name: str, package: Path) -> Path | None:
    """Return the file of a module, or the __init__.py of a package; None if there is neither."""
    base = package.joinpath(*name.partition(":")[0].split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _package_modules(package_name: str, package: Path) -> list[str]:
    """List the members of a registry: its package's modules that define a class, but for a leading underscore."""
    paths = package.joinpath(*package_name.split(".")[1:]).glob("[!_]*.py")
    return sorted(path.stem for path in paths if re.search("^class ", path.read_text(encoding="utf-8"), re.MULTILINE))


@cache
def _hash_data_files(path: Path) -> str:
    """Hash a file, or all files under a folder except Python modules."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    data_files = [file for file in files if file.is_file() and file.suffix not in (".py", ".pyc")]
    lines = [f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file in data_files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@cache
def _parse_module(path: Path, function: str, ignored: tuple[str, ...], messages_count: bool) -> SourceModule:
    """Parse a source file, or one function of it, and collect what its fingerprint needs.

    Args:
        path: the file.
        function: the name of the function; empty for the whole file.
        ignored: members of its classes that do not count.
        messages_count: whether the texts count that an error is raised with; other arguments of it always do.
    """
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"), str(path))
    if function:
        tree = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function)
    for node in ast.walk(tree) if ignored else ():
        if isinstance(node, ast.ClassDef):
            node.body = [part for part in node.body if not _defines_member(part, ignored)] or [ast.Pass()]
    imports: dict[str, None] = {}
    registries: dict[str, None] = {}
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
                registries[start.removesuffix(".")] = None
            case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(place))):
                if ast.unparse(left) == "Path(__file__).parent":
                    data_files[place] = None
            case ast.Raise(exc=ast.Call() as error) if not messages_count:
                error.args = [argument for argument in error.args if not _is_text(argument)]
            case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    del node.body[0]
    digest = hashlib.sha256("\n".join(_syntax_tokens(tree)).encode()).hexdigest()
    return SourceModule(digest, tuple(imports), tuple(registries), tuple(data_files))


def _is_text(node: ast.expr) -> bool:
    """Return whether an expression is a string in the source, whatever it is formatted with."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _defines_member(node: ast.stmt, members: Collection[str]) -> bool:
    """Return whether a statement of a class defines one of these members, or a name that begins with one."""
    match node:
        case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            names = [name]
        case ast.Assign(targets=targets):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        case _:
            names = []
    return any(name.lstrip("_").partition("_")[0] in members for name in names)


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
