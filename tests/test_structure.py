"""The house as drawn: who imports whom, rooms of one noun, functions that fit a screen."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "workflow" / "slq"
MODULES = sorted(PACKAGE.rglob("*.py"))
SHARED = {
    "code",
    "errors",
    "files",
    "events",
    "proofs",
    "seeds",
    "arguments",
    "attempts",
    "nvml",
    "provenance",
    "yamls",
}
# cli -> reporting -> evaluation, accounting; evaluation, training -> models -> data; world writes what data reads,
# for cli alone, and learns by training's loss.
MAY_IMPORT = {
    "data": set(),
    "sources": {"config", "data", "drawn"},
    "models": {"data"},
    "comparators": {"evaluation", "models", "data"},
    "prefixes": {"models", "data"},
    "reranking": {"comparators", "evaluation", "models", "data"},
    "training": {"prefixes", "models", "data", "runs"},
    "evaluation": {"prefixes", "models", "data"},
    "accounting": set(),
    "bench": {"reporting", "reranking", "evaluation", "training", "prefixes", "models", "accounting"},
    "reporting": {"accounting", "evaluation", "rows"},
    "plausibility": {"reporting", "evaluation"},
    "comparison": {"reporting", "accounting", "evaluation"},
    "claims": {"plausibility", "reporting", "evaluation", "config"},
    "paper_audit": {"plausibility", "reporting", "evaluation", "accounting", "data"},
    "page": {"claims", "reporting", "accounting"},
    "export": {"config", "models", "data", "evaluation", "reporting", "sources"},
    "doctor": {"accounting", "sources", "config", "cost_settings", "runs"},
    "world": {"training", "models", "data"},
    "account_cli": {"arguments", "accounting", "evaluation", "doctor"},
    "bench_cli": {"arguments", "config", "cost_settings", "sources", "bench", "training"},
    "compare_cli": {"arguments", "comparison", "settings", "sources"},
    "pilot_cli": {"arguments", "comparators", "data", "reporting"},
    "report_cli": {"arguments", "claims", "page", "paper_audit"},
    "row_cli": {"arguments", "comparators", "reranking"},
    "train_cli": {"arguments", "prefixes", "training", "evaluation"},
    "cli": {
        "account_cli",
        "bench_cli",
        "compare_cli",
        "pilot_cli",
        "report_cli",
        "row_cli",
        "train_cli",
        "export",
        "arguments",
        "data",
        "sources",
        "world",
        "training",
        "evaluation",
        "reporting",
        "plausibility",
    },
    "config": {"drawn", "listed", "rows", "runs", "standing", "unfit"},
    "drawn": set(),
    "listed": set(),
    "code": set(),
    "contents": {"data", "sources"},
    "settings": {"config", "drawn", "rows", "runs"},
    "cost_settings": {"config", "drawn", "rows", "runs", "settings"},
    "report_settings": {"config", "settings", "cost_settings"},
    "rows": set(),
    "row_settings": {"config", "rows", "settings"},
    "runs": set(),
    "standing": set(),
    "unfit": set(),
    "arguments": set(),
    "attempts": set(),
    "nvml": set(),
    "errors": set(),
    "files": set(),
    "events": set(),
    "proofs": set(),
    "provenance": set(),
    "seeds": set(),
    "yamls": set(),
}


def room(name):
    """`slq.models.prefix` -> `models`."""
    return name.split(".")[1] if name.startswith("slq.") else None


def imports(path):
    """Rooms of the package that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"slq.{alias.name}" for alias in node.names] if node.module == "slq" else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from filter(None, map(room, names))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own != "__init__":
        assert set(imports(path)) - SHARED - {own} <= MAY_IMPORT[own]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_are_small(path):
    assert len(path.read_text().splitlines()) <= 300
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} does not fit a screen"


def test_the_snakefile_is_a_table_of_contents():
    assert len((PACKAGE.parents[1] / "Snakefile").read_text().splitlines()) < 60
