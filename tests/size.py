"""Size of the package: code lines and tokens by subpackage, without blank lines, comments and docstrings.

python tests/size.py
"""

import ast
import io
import tokenize
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / "workflow"
LOOSE = "loose"  # modules of the package that are in no subpackage
BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_lines(source: str) -> set[int]:
    """Number the lines of all docstrings of a module."""
    found: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            found |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    return found


def size_of(source: str) -> tuple[int, int]:
    """Count the code lines and the tokens of a module; a string over three lines is three lines."""
    left_out, lines, tokens = docstring_lines(source), set[int](), 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in BLANK and token.start[0] not in left_out:
            tokens += 1
            lines |= {*range(token.start[0], token.end[0] + 1)}
    return len(lines), tokens


def sizes(folder: Path = WORKFLOW) -> pd.DataFrame:
    """Sum lines, tokens and files of all Python under a folder by subpackage, with the largest last."""
    rows = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).parts
        rows.append((parts[1] if len(parts) > 2 else LOOSE, *size_of(path.read_text(encoding="utf-8")), 1))
    frame = pd.DataFrame(rows, columns=["package", "lines", "tokens", "files"])
    return frame.groupby("package").sum().sort_values("lines")


if __name__ == "__main__":
    found = sizes()
    found.loc["in all"] = found.sum()
    print(found.to_string())
