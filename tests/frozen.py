"""Fingerprints of the assertions and tolerances of oracle tests, which a refactoring may not change (frozen.yaml).

python tests/frozen.py                 # prints the fingerprint of each listed test, and marks differences from the list
python tests/frozen.py --write         # also writes the fingerprints to the list
"""

import ast
import builtins
import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TESTS = Path(__file__).parent
LIST = TESTS / "frozen.yaml"
LIBRARIES = {"torch", "np", "numpy", "math", "pytest"}  # their names are part of the fingerprint
CALLS = {"approx", "raises", "warns", "fail", "skip", "xfail", "importorskip", "allclose", "isclose", "assert_close"}
CALLS |= {"assert_allclose", "assert_array_equal", "assert_equal", "array_equal", "equal", "isfinite", "isnan", "norm"}
METHODS = {"abs", "all", "any", "max", "min", "sum", "mean", "norm", "count", "issubset", "issuperset", "startswith"}
METHODS |= {"endswith", "equal", "equals", "item", "std", "cos", "float", "double", "long", "numel"}
KEPT = frozenset(CALLS | METHODS)  # names of functions that are part of the fingerprint
BUILTINS = frozenset(dir(builtins))
KEYWORDS = {"rtol", "atol", "abs", "rel", "equal_nan", "strict", "match", "nan_ok", "reverse", "dtype", "check_dtype"}
ENDS = {ast.Return: "return", ast.Continue: "continue", ast.Break: "break"}


@dataclass
class Module:
    """A file of tests: its functions and classes, its constants and its imports, by name."""

    path: Path
    defined: dict[str, ast.FunctionDef | ast.ClassDef] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, tuple[Path, str]] = field(default_factory=dict)


@cache
def read_module(path: Path) -> Module:
    """Parse a file of tests; only imports from other files of tests are recorded."""
    found = Module(path)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                found.defined[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)) if node.value:
                found.constants[name] = node.value
            case ast.AugAssign(target=ast.Name(id=name)) if name in found.constants:
                found.constants[name] = ast.BinOp(found.constants[name], node.op, node.value)
            case ast.ImportFrom(module=module) if module:
                for place in (path.parent, TESTS):
                    file = place.joinpath(*module.split(".")).with_suffix(".py")
                    if file.is_file():
                        found.imported |= {one.asname or one.name: (file, one.name) for one in node.names}
    return found


def resolve(module: Module, name: str) -> tuple[Module, ast.AST] | None:
    """Find a function, class or constant of the tests by its name in a file; None for any other name."""
    for kind in (module.defined, module.constants):
        if name in kind:
            return module, kind[name]
    if name in module.imported:
        file, original = module.imported[name]
        return resolve(read_module(file), original)
    shared = TESTS / "conftest.py"
    if module.path != shared and name in (fixtures := read_module(shared)).defined:
        return fixtures, fixtures.defined[name]
    return None


class Form:
    """Normal forms of syntax trees without names, positions, line breaks and strings; numbers and operators stay.

    Names are replaced by numbers in the order of first occurrence, so that `a == b` and `a == a` differ.
    """

    def __init__(self, module: Module, words: bool, deep: bool = False) -> None:
        """`words`: keep strings; `deep`: replace the name of every constant by its value, not only of literals."""
        self.module, self.words, self.deep, self.names = module, words, deep, dict[str, int]()

    def of(self, node: Any) -> Any:
        match node:
            case ast.Constant(value=str() | bytes() as text):
                return ["text", repr(text)] if self.words else "text"
            case ast.JoinedStr():
                return "text"
            case ast.Constant(value=value):
                return repr(value)
            case ast.Call(func=ast.Name(id=name)) if name in KEPT:
                return ["Call", name, self.of(node.args), self.of(node.keywords)]
            case ast.Call(func=ast.Attribute() as function):
                return ["Call", self._attribute(function, KEPT), self.of(node.args), self.of(node.keywords)]
            case ast.Call():
                return ["Call", self.of(node.func), self.of(node.args), self.of(node.keywords)]
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute():
                return self._attribute(node, frozenset())
            case ast.keyword(arg=name, value=value):
                return [name if name in KEYWORDS else "keyword", self.of(value)]
            case ast.expr_context():
                return None
            case ast.AST():
                fields = [
                    (key, value) for key, value in ast.iter_fields(node) if key not in ("ctx", "kind", "type_comment")
                ]
                return [type(node).__name__, *(self.of(value) for _, value in fields if value not in (None, []))]
            case list():
                return [self.of(one) for one in node]
            case str():
                return self._numbered(node)
        return repr(node)

    def _numbered(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    def _name(self, name: str) -> Any:
        found = resolve(self.module, name)
        if found and isinstance(found[1], ast.expr) and name not in self.names:
            module, value = found
            if self.deep or not any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(value)):
                inner = Form(Module(module.path), self.words)  # constants inside a constant are not resolved
                return inner.of(value)
        return name if name in BUILTINS else self._numbered(name)

    def _attribute(self, node: ast.Attribute, kept: frozenset[str]) -> Any:
        """Return the form of a dotted name: one name, or its last part for a library; methods in `kept` keep theirs."""
        text = ast.unparse(node)
        if re.fullmatch(r"[\w.]+", text):
            first, *_, last = text.split(".")
            if first in LIBRARIES:
                return last if first != "pytest" else text.removeprefix("pytest.")
            if last not in kept:
                return self._numbered(text)
        return ["of", self.of(node.value), node.attr if node.attr in kept else self._numbered(node.attr)]


Guards = tuple[ast.AST | str, ...]


def asserted(
    module: Module, statements: Sequence[ast.stmt], ends: bool, guards: Guards = ()
) -> Iterator[tuple[Guards, ast.AST | str]]:
    """Yield the assertions of a body and its calls of helpers that assert, each with its enclosing blocks.

    With `ends`, also yield the statements that may end the body early.
    """
    for statement in statements:
        parts: list[tuple[list[ast.stmt], tuple[ast.AST | str, ...]]] = []
        match statement:
            case ast.Assert(test=test):
                yield guards, test
            case ast.Expr(value=ast.Call() as call) if called(call) in CALLS or asserts(module, call.func):
                yield guards, call
            case ast.Return() | ast.Continue() | ast.Break() if ends:
                yield guards, ENDS[type(statement)]
            case ast.With(items=items, body=body):
                expected = [one.context_expr for one in items if called(one.context_expr) in CALLS]
                yield from ((guards, one) for one in expected)
                parts = [(body, tuple(expected))]
            case ast.If(test=test, body=body, orelse=other):
                parts = [(body, ("if", test)), (other, ("else", test))]
            case ast.For(iter=over, body=body, orelse=other):
                parts = [([*body, *other], ("for", over))]
            case ast.While(test=test, body=body):
                parts = [(body, ("while", test))]
            case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=final):
                handling = [line for one in handlers for line in one.body]
                parts = [(body, ("try",)), (handling, ("except",)), ([*other, *final], ())]
            case ast.FunctionDef(body=body) | ast.ClassDef(body=body):
                yield from asserted(module, body, False, (*guards, "within"))
        for body, more in parts:
            yield from asserted(module, body, ends, (*guards, *more))


def asserts(module: Module, function: ast.expr) -> bool:
    """Return whether the called function belongs to the tests and contains an assertion."""
    found = resolve(module, function.id) if isinstance(function, ast.Name) else None
    if found is None or isinstance(found[1], ast.expr):
        return False
    return any(isinstance(part, ast.Assert) or called(part) in CALLS for part in ast.walk(found[1]))


def called(node: ast.AST) -> str:
    """Return the last part of the called name; '' if the node is not a call."""
    if not isinstance(node, ast.Call):
        return ""
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def forms_of(module: Module, node: Any, words: bool, ends: bool) -> list[Any]:
    """Return the forms of the assertions of a function or class; each numbers its names from zero."""
    forms = []
    for guards, what in asserted(module, node.body, ends):
        form = Form(module, words)
        forms.append([form.of(one) if isinstance(one, ast.AST) else one for one in (what, *guards)])
    return forms


def helpers(module: Module, node: ast.AST, seen: set[tuple[Path, str]]) -> Iterator[tuple[Module, Any]]:
    """Yield the functions, fixtures and classes of the tests that a test uses, directly or indirectly."""
    for part in ast.walk(node):
        name = part.id if isinstance(part, ast.Name) else part.arg if isinstance(part, ast.arg) else None
        found = resolve(module, name) if name else None
        if found is None or (isinstance(found[1], ast.expr) and not isinstance(part, ast.Name)):
            continue
        where, what = found
        key = (where.path, getattr(what, "name", name))
        if key not in seen:
            seen.add(key)
            if not isinstance(what, ast.expr):
                yield where, what
            yield from helpers(where, what, seen)


def split_id(test: str) -> tuple[Module, Any]:
    """Parse `file::function`, and return the module and the function.

    Raises:
        KeyError: the function does not exist; OSError: the file does not exist.
    """
    file, _, name = test.partition("::")
    module = read_module(TESTS / file)
    return module, module.defined[name]


def fingerprint(test: str, oracles: Sequence[str] = (), words: bool = False) -> str:
    """Return the number of assertions and numbers of a test, and a hash of their forms, its parameters and its marks.

    Args:
        oracles: functions, as `file::function`, that compute expected values; their whole form is hashed too.
        words: hash strings too, for tests in which strings are the asserted values.

    Raises:
        KeyError, OSError: as `split_id`.
    """
    module, node = split_id(test)
    own = forms_of(module, node, words, ends=True)
    shared = [
        forms
        for where, what in helpers(module, node, {(module.path, node.name)})
        if (forms := forms_of(where, what, False, ends=False))
    ]
    marks = [Form(module, words, deep=True).of(mark) for mark in node.decorator_list]
    marks += [Form(module, False).of(module.constants[name]) for name in ("pytestmark",) if name in module.constants]
    numbers = sorted(
        repr(part.value)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, int | float | complex)
    )
    whole = []
    for oracle in oracles:
        where, what = split_id(oracle)
        body = what.body[1:] if ast.get_docstring(what) else what.body
        whole.append(Form(where, words).of([getattr(what, "args", None), *body]))
    content = [own, sorted(shared, key=json.dumps), marks, numbers, whole]
    count = len(own) + sum(map(len, shared))
    return f"{count}.{len(numbers)}.{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]}"


def read_list() -> dict[str, Mapping[str, Any]]:
    """Read the entries of frozen.yaml, by test."""
    return yaml.safe_load(LIST.read_text(encoding="utf-8"))


def found_now(test: str, entry: Mapping[str, Any]) -> str:
    """Compute the current fingerprint of an entry's test."""
    return fingerprint(test, entry.get("with", ()), entry.get("words", False))


def main(write: bool) -> None:
    """Print each fingerprint, with the listed one if it differs; with `write`, update the list."""
    text = LIST.read_text(encoding="utf-8")
    for test, entry in read_list().items():
        now = found_now(test, entry)
        print(f"{test}: {now}" + ("" if now == entry["print"] else f"   listed: {entry['print']}"))
        text = re.sub(rf"^({re.escape(test)}:.*\bprint: )[^\s,}}]+", rf"\g<1>{now}", text, flags=re.MULTILINE)
    if write:
        LIST.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
