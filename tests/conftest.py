"""What the tests share: the repository, its configuration, and untrained mini backbones of the real classes."""

import os
import shutil
from pathlib import Path

# Before torch is imported: one thread, as in the workflow's own jobs, so that nothing depends on this machine's load.
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
# The same examples in every call, so that a red test is red for whoever runs it. To search for more, drawn anew:
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


@pytest.hookimpl(optionalhook=True)  # there is no such hook under -p no:xdist
def pytest_xdist_auto_num_workers():
    return scheduling.workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return scheduling.Groups(config, log)


@pytest.fixture(scope="session")
def latex():
    """For tests that need pdflatex: a laptop may do without, CI sets SLQ_NEEDS_LATEX."""
    require("" if shutil.which("pdflatex") else "pdflatex is not on PATH", "SLQ_NEEDS_LATEX")


@pytest.fixture(scope="session")
def browser():
    """The path of a Chromium: a laptop may do without, CI sets SLQ_NEEDS_BROWSER."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    require("" if found else "no Chromium is on PATH", "SLQ_NEEDS_BROWSER")
    return found


@pytest.fixture(scope="module")
def slurm():
    """A real Slurm with two GPUs and no accounting (tests/slurm): a laptop may do without, CI sets SLQ_NEEDS_SLURM."""
    require(cluster.missing(), "SLQ_NEEDS_SLURM")
    with cluster.running() as started:
        yield started


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
    """The slice's backbone, datasets and a run of every method; tests add folders to it and change none."""
    from sliced import make_slice, slice_at

    return slice_at(made_once(tmp_path_factory, "trained", make_slice))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A copy of the repository that tests only plan in."""
    return copy_repository(tmp_path_factory.mktemp("pristine"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A copy of the repository in which the slice has been run once. Tests that change it copy it first."""

    def run(folder):
        answer = snakemake(copy_repository(folder), *SLICE)
        assert answer.returncode == 0, answer.stdout

    return made_once(tmp_path_factory, "finished", run)


@pytest.fixture
def learner(finished, tmp_path):
    """Copies of the finished slice with other settings of training: so what is to do is the training."""

    def copy(name, training, minutes=60):
        folder = shutil.copytree(finished, tmp_path / name, symlinks=True)
        shutil.rmtree(folder / "scratch/work")  # events of the training that is there
        change_training(folder, training, minutes)
        return folder

    return copy


@pytest.fixture
def submission(slurm, learner):
    """The command on a training of many steps, submitted to a real Slurm, at the fifth of them."""
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
