"""Fixtures that the tests share: the repository, its configuration, and untrained mini backbones."""

import os
import shutil
from pathlib import Path

# Set before torch is imported: one thread, as in the workflow's jobs, so that no test depends on the machine's load.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest
import yaml

import scheduling
from checkout import SLICE, change_training, copy_repository, require, snakemake
from once import made_once
from slurm import cluster
from timing import Timing

ROOT = Path(__file__).parents[1]
CONFIG = (ROOT / "config.yaml").read_text()
# The same examples in every call, so that a failure is reproducible. To search with newly drawn examples:
# pytest --hypothesis-profile=search tests/unit -k odd
hypothesis.settings.register_profile(
    "same",
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("same")
hypothesis.settings.register_profile("search", max_examples=5000, derandomize=False)
MINI = [name for name, entry in yaml.safe_load(CONFIG)["backbones"].items() if "pretrain" in entry]


def pytest_addoption(parser):
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="files, and the tests of each, in an order drawn by it"
    )


def pytest_configure(config):
    config.pluginmanager.register(Timing())


def pytest_collection_modifyitems(config, items):
    seed = config.getoption("--shuffle")
    items[:] = scheduling.heavy_first(items) if seed is None else scheduling.shuffled(items, seed)


@pytest.hookimpl(optionalhook=True)  # the hook does not exist under -p no:xdist
def pytest_xdist_auto_num_workers():
    return scheduling.workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return scheduling.Groups(config, log)


@pytest.fixture(scope="session")
def latex():
    """A check for pdflatex: tests are skipped without it, or fail if SLQ_NEEDS_LATEX is set, as in CI."""
    require("" if shutil.which("pdflatex") else "pdflatex is not on PATH", "SLQ_NEEDS_LATEX")


@pytest.fixture(scope="session")
def browser():
    """The path of a Chromium: tests are skipped without one, or fail if SLQ_NEEDS_BROWSER is set, as in CI."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    require("" if found else "no Chromium is on PATH", "SLQ_NEEDS_BROWSER")
    return found


@pytest.fixture(scope="module")
def slurm():
    """A real Slurm with two GPUs and no accounting (tests/slurm).

    Tests are skipped without it, or fail if SLQ_NEEDS_SLURM is set, as in CI.
    """
    require(cluster.missing(), "SLQ_NEEDS_SLURM")
    with cluster.running() as started:
        yield started


@pytest.fixture
def raw_config():
    """The parsed config.yaml without defaults, a new copy that a test may change."""
    return yaml.safe_load(CONFIG)


@pytest.fixture(params=MINI)
def fresh_backbone(request, raw_config, tmp_path):
    """A function that builds the same untrained backbone of one family in every call."""
    from oracles import untrained

    return lambda: untrained(request.param, raw_config["backbones"][request.param], tmp_path)


@pytest.fixture
def tiny_backbone(fresh_backbone):
    """An untrained backbone with sharpened attention, so that a wrong position is visible."""
    from oracles import sharpen

    return sharpen(fresh_backbone())


@pytest.fixture(scope="session")
def slice_(tmp_path_factory):
    """The slice's backbone, its datasets and a run of every method; tests may add folders but not change any."""
    from sliced import make_slice, slice_at

    return slice_at(made_once(tmp_path_factory, "trained", make_slice))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A copy of the repository for dry runs only."""
    return copy_repository(tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A copy of the repository with a finished run of the slice; tests that change it copy it first."""

    def run(folder):
        answer = snakemake(copy_repository(folder), *SLICE)
        assert answer.returncode == 0, answer.stdout

    return made_once(tmp_path_factory, "finished", run)


@pytest.fixture
def learner(finished, tmp_path):
    """A function that copies the finished slice with other training settings, so that only training is due."""

    def copy(name, training, minutes=60):
        folder = shutil.copytree(finished, tmp_path / name, symlinks=True)
        shutil.rmtree(folder / "scratch/work")  # events of the finished training
        change_training(folder, training, minutes)
        return folder

    return copy


@pytest.fixture
def submission(slurm, learner):
    """A training of many steps submitted to a real Slurm, waiting at its fifth step."""
    from slurm.submission import MANY, Submission

    started = Submission(slurm, learner("cluster", MANY))
    try:
        started.reach(5)
        yield started
    finally:
        started.process.kill()
        started.process.wait()


@pytest.fixture
def checkout(tmp_path):
    """A copy of the repository that a test may change and run."""
    return copy_repository(tmp_path / "checkout")
