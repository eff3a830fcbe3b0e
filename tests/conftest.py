"""What the tests share: the repository, its configuration, and untrained mini backbones of the real classes."""

import os
import shutil
from pathlib import Path

# Before torch is imported: one thread, as in the workflow's own jobs, so that nothing depends on this machine's load.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import yaml

from checkout import copy_repository

ROOT = Path(__file__).parents[1]
CONFIG = (ROOT / "config.yaml").read_text()
MINI = [name for name, entry in yaml.safe_load(CONFIG)["backbones"].items() if "pretrain" in entry]


def pytest_addoption(parser):
    parser.addoption("--kills", choices=["fifth", "all"], default="fifth", help="how many of tests/test_kills.py")


@pytest.fixture(scope="session")
def latex():
    """For tests that need pdflatex: a laptop may do without, CI sets SLQ_NEEDS_LATEX."""
    if not shutil.which("pdflatex"):
        if os.environ.get("SLQ_NEEDS_LATEX"):
            pytest.fail("pdflatex is not on PATH, and SLQ_NEEDS_LATEX says that it must be")
        pytest.skip("pdflatex is not on PATH")


@pytest.fixture
def raw_config():
    """config.yaml as a person wrote it, parsed anew: a test may change it."""
    return yaml.safe_load(CONFIG)


@pytest.fixture(params=MINI)
def fresh_backbone(request, raw_config, tmp_path):
    """Makes the same untrained backbone of one family each time it is called."""
    from oracles import untrained

    return lambda: untrained(request.param, raw_config["backbones"][request.param], tmp_path)


@pytest.fixture
def tiny_backbone(fresh_backbone):
    """One untrained backbone with sharpened attention, so that a wrong position is visible."""
    from oracles import sharpen

    return sharpen(fresh_backbone())


@pytest.fixture(scope="session")
def slice_(tmp_path_factory):
    """The slice's backbone, sets and a run of every method; tests add folders to it and change none."""
    from sliced import make_slice

    return make_slice(tmp_path_factory.mktemp("slice"))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A copy of the repository that tests only plan in."""
    return copy_repository(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def checkout(tmp_path):
    """A copy of the repository that a test may change and run."""
    return copy_repository(tmp_path / "checkout")
