"""Tests that every command of README.md, CONTRIBUTING.md and docs/ prints the output that the page shows."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from doc_commands import NOT_RUN, PAGES, check_page  # noqa: E402


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NOT_RUN])
def test_the_commands_of_a_page_run_and_print_what_it_shows(page):
    faults = check_page(page, ROOT)
    assert not faults, "\n\n".join([f"python tests/doc_commands.py {page} --write", *faults])
