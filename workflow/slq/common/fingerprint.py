"""Fingerprints of the package's code, one for each job.

An edit of code re-runs the jobs whose fingerprint changes; comments and docstrings change no fingerprint.
A fingerprint covers the job's function (slq/jobs.py), its module, and all modules that it imports, directly or not. A
registry imports its members by name; only the members that the job uses are covered.

Fingerprints are computed from source files without importing them, which is fast; every cluster job computes one.
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
# Modules that cannot change the result of a job, with the reason. Jobs that only read results do not exempt them,
# because these jobs report what some of the modules have written, and re-running them takes only seconds.
EXEMPT_MODULES = {
    "slq.common.errors": "texts of messages",
    "slq.common.events": "records about a job: times, devices, energy, versions and the commit",
    "slq.common.attempts": "reads these records, from which reporting jobs compute the hours again",
    "slq.training.job": "when a process trains, not what it computes: a lock, a deadline, Slurm's queue",
    "slq.common.fingerprint": "identifies code, and is part of no result",
    "slq.common.parameters": "passes the parameters, whose change is itself a reason to re-run a job",
    "slq.methods.plan": "the cost of a method, not what it learns",
    "slq.jobs": "calls functions; for an entry in it, the function itself is hashed",
}
REPORTING_PACKAGES = {"cost", "reporting", "claims"}
# Attributes and methods, by registry, of the registry's classes that do not change the result of a job. A name that
# begins with a listed name and an underscore is ignored as well. For a method these are its appearance, its factors,
# its cost and export; for a kind of baselines, the functions that only build its settings.
IGNORED_MEMBERS = {
    "slq.methods": ("label", "color", "read_out", "adaptation", "plan", "export", "card", "write_linear_head"),
    "slq.baselines.kinds": ("schema", "table_group", "describe", "inputs", "settings"),
}
UNREPORTED_MEMBERS = {"slq.methods": ("build", "export")}  # ignored in the fingerprints of jobs that only read results


@dataclass(frozen=True)
class SourceModule:
    """Properties of a source file that its fingerprint needs.

    Attributes:
        syntax_sha256: SHA-256 of the syntax tree, without docstrings and positions.
        imports: names that are imported from the package anywhere in the file: `slq.a.b`, or `slq.a.b.c`, where c may
            be a name in the module b.
        registries: packages whose modules are imported by file name: `import_module(f"slq.a.{name}")`.
        data_files: files or folders in the same folder that are read: `Path(__file__).parent / "name"`.
    """

    syntax_sha256: str
    imports: tuple[str, ...]
    registries: tuple[str, ...]
    data_files: tuple[str, ...]


def fingerprint(*entries: str, package: Path = PACKAGE, **members: Collection[str] | None) -> str:
    """Hash the code of a job: the modules of its entries, and all modules that they import.

    Args:
        entries: functions, `slq.a.b:function`, or modules, `slq.a.b`. An entry in `slq.jobs`, which lists all jobs,
            covers only the function itself.
        package: folder of the package.
        members: the members that the job uses of each registry, by the name of the registry's folder (`families`,
            `dual_encoders`, `methods`, `kinds`); None or a missing name stands for all members. Other members are not
            hashed, so that a new member does not make runs out of date.
    """
    digest = hashlib.sha256()
    for name in import_closure(*entries, package=package, **members):
        path, module = _read_module(name, package, reads_results_only(*entries))
        digest.update(f"{name}\n{module.syntax_sha256}\n".encode())
        for data_file in module.data_files:
            digest.update(f"{data_file}\n{_hash_data_files(path.parent / data_file)}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(*entries: str, package: Path = PACKAGE, **members: Collection[str] | None) -> list[str]:
    """List the sorted names of the entries' modules and of all modules that they import, directly or not.

    A function of `slq.jobs` is listed as `slq.jobs:function`. The arguments are those of `fingerprint`.

    Raises:
        ValueError: a name is neither a module of the package nor a name in such a module.
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
    """Return whether a job only reads results; its fingerprint covers all modules, labels of methods and messages."""
    return all(entry.split(".")[1] in REPORTING_PACKAGES for entry in entries)


def _read_module(name: str, package: Path, only_reports: bool) -> tuple[Path, SourceModule]:
    """Return the file and the properties of a module, or of a function of `slq.jobs`.

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
    """Return the file of a module, or the __init__.py of a package; None if neither exists."""
    base = package.joinpath(*name.partition(":")[0].split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _package_modules(package_name: str, package: Path) -> list[str]:
    """List the members of a registry: the modules that define a class and have no leading underscore."""
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
    """Parse a source file, or one function of it, and collect the properties that its fingerprint needs.

    Args:
        path: the file.
        function: name of the function; empty for the whole file.
        ignored: attributes and methods of its classes that are ignored.
        messages_count: whether texts in a `raise` statement are hashed; its other arguments always are.
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
    """Return whether an expression is a string literal or an f-string."""
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _defines_member(node: ast.stmt, members: Collection[str]) -> bool:
    """Return whether a statement in a class defines one of `members`, or a name that begins with one."""
    match node:
        case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            names = [name]
        case ast.Assign(targets=targets):
            names = [target.id for target in targets if isinstance(target, ast.Name)]
        case _:
            names = []
    return any(name in members or name.lstrip("_").partition("_")[0] in members for name in names)


def _syntax_tokens(node: object) -> Iterator[str]:
    """Yield the tokens of a syntax tree, without empty fields, because Python versions differ in their fields."""
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
