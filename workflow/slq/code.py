"""The identity of the package's code, by stage: an edit re-runs what depends on it (comments re-run nothing)."""

import ast
import hashlib

from slq.config import PACKAGE

DUALS = ("models/dual.py", "models/duals/*.py", "world/duals.py")  # patterns


def code_hash(*places: str, family: str | None = None) -> str:
    """Identity of what folders or modules of the package do: comments and docstrings do not count.

    Of a job of one `family`, the adapters of the others, and dual encoders, do not count either: one more makes no run
    out of date.
    """
    others = {path for path in PACKAGE.glob("models/families/[!_]*.py") if family and path.stem != family}
    others |= {path for pattern in DUALS for path in PACKAGE.glob(pattern) if family}
    digest = hashlib.sha256()
    for place in places:
        for path in sorted(set((PACKAGE / place).rglob("*.py")) - others) or [PACKAGE / place]:
            tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
            digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n{_dump(tree)}\n".encode())
    return digest.hexdigest()[:16]


def _dump(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            del node.body[0]
    return ast.dump(tree)
