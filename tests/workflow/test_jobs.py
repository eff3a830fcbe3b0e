"""Tests of the calls of jobs by rules: the contents of parameter files, and rerunning a job from a log."""

import inspect
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from unittest import mock

import pytest
import yaml

from checkout import SLICE, copy_repository, listed_jobs, snakemake
from slq import jobs
from slq.common.files import read_json

# `all`, and the targets that are made only on request.
TARGETS = ("all", "plan", "lr_sweep", "frontier", "claims", "report", "compare", "forecast", "reference_check")
# Jobs whose function passes its arguments to another function with more parameters.
WITHIN = {
    "train": "slq.training.run.run_training",
    "interpolate": "slq.training.interpolation.interpolate_run",
}
RESOURCES = {"num_threads": 2, "num_processes": 1, "time_limit_minutes": 30.0}
OWN = {  # datasets that are in no preset: a user's folder, and queries for images of another dataset
    "mine": {"label": "mine", "kind": "retrieval", "local_dir": "mine", "paper_column": "mine"},
    "queries": {"label": "q", "kind": "retrieval", "queries": "mine.jsonl", "images_of": "mini-coco"},
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The parameters of every job in the graphs of the presets and of a user's datasets."""
    folder = copy_repository(tmp_path_factory.mktemp("planned"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["datasets"] |= OWN
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    # Of the frontier, interpolations are planned when the searches have finished.
    own = [
        "pilot",
        "results/mini/mini-internvl/lora/mix0.5/seed1/run.json",
        *(f"scratch/data/{name}/test/manifest.json" for name in OWN),
    ]
    found = {}
    for preset, targets in (("mini", [*TARGETS, *own]), ("paper", TARGETS)):
        for job in listed_jobs(folder, preset, *targets):
            if job["call"]:
                name, file = job["call"]
                assert name == job["rule"]
                found[file] = read_json(folder / file)
    return found


def test_every_job_is_planned(planned):
    """The job of the PDF is exempt, because it is not planned without pdflatex."""
    assert {one["job"] for one in planned.values()} | {"compile_pdf"} == jobs.JOBS.keys()


def bind(parameters):
    """Run a job with a mock of its function that has the same signature, so that wrong arguments raise."""
    job = parameters["job"]
    place = WITHIN.get(job, jobs.JOBS[job].replace(":", "."))
    function = mock.create_autospec(pkgutil.resolve_name(place))
    with mock.patch(place, function), mock.patch("slq.training.distributed.launch_distributed", return_value=False):
        jobs.run_job(job, {key: value for key, value in parameters.items() if key != "required"}, **RESOURCES)
    function.assert_called_once()
    return inspect.signature(function).bind(*function.call_args.args, **function.call_args.kwargs)


def test_a_rule_gives_its_job_what_the_function_takes(planned):
    """No argument is missing or superfluous, and paths are passed where the function expects paths."""
    for parameters in planned.values():
        bound = bind(parameters)
        for name in parameters["paths"]:
            annotation = str(bound.signature.parameters[name].annotation)
            assert "Path" in annotation, f"{parameters['job']}: {name}"


def test_an_argument_that_does_not_fit_is_seen(planned):
    """The test above can fail."""
    (parameters, *_) = [one for one in planned.values() if one["job"] == "train"]
    for paths in ({"data": None}, {"no_such": "path"}):
        spoilt = {key: value for key, value in (parameters["paths"] | paths).items() if value}
        with pytest.raises(TypeError):
            bind(parameters | {"paths": spoilt})


TARGET = "scratch/data/mini-mmmu/test/manifest.json"


def test_parameters_are_written_once_and_a_command_of_a_log_runs_again(checkout):
    """The command runs by hand, without Snakemake, from the folder of the repository."""
    answer = snakemake(checkout, "-n", "-p", *SLICE, "--", TARGET)
    assert answer.returncode == 0, answer.stdout
    (command,) = re.findall(r"python -m slq\.jobs .*", answer.stdout)
    (file,) = (checkout / "scratch/params").iterdir()
    before = file.stat()
    assert snakemake(checkout, "-n", "-p", *SLICE, "--", TARGET).returncode == 0
    assert [path.name for path in (checkout / "scratch/params").iterdir()] == [file.name]
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    words = shlex.split(command.partition(" 2>&1")[0])
    assert words[:5] == ["python", "-m", "slq.jobs", "make_synthetic_split", str(file.relative_to(checkout))]
    environment = os.environ | {"PYTHONPATH": str(checkout / "workflow")}
    environment["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"  # as set by the rules
    for folder in ("once", "again"):
        called = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True)
        assert called.returncode == 0, called.stderr
        (checkout / TARGET).parent.rename(checkout / folder)
    made = [{path.name: path.read_bytes() for path in (checkout / one).rglob("*.*")} for one in ("once", "again")]
    assert made[0] == made[1] and len(made[0]) > 2
    held = json.loads(file.read_text())
    assert held["job"] == "make_synthetic_split" and held["paths"] == {"out": "scratch/data/mini-mmmu/test"}
    refused = subprocess.run(
        ["python", "-m", "slq.jobs", "prepare_split", words[4]], cwd=checkout, env=environment, capture_output=True
    )
    assert refused.returncode == 1
    assert refused.stderr.decode() == (
        f"slq: error: {words[4]}: contains the parameters of make_synthetic_split, not of prepare_split; "
        "pass the file of the rule prepare_split\n"
    )


def test_output_that_is_read_in_part_is_no_error(pristine):
    command = f"{sys.executable} -m slq.cli forecast --preset paper | head -1"
    answer = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=pristine, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (0, "") and len(answer.stdout.splitlines()) == 1
