"""The slice submitted to a real Slurm (cluster.py), and the outputs of a training that ran there."""

import json
import os
import subprocess
import sys

from checkout import RUNS, SLICE, contents, snakemake
from kills import MANY_STEPS, Trail
from slq.common.files import read_jsonl

from .cluster import wait_until

SLURM = ["--cores", "all", "--profile", "slurm", "--config", "preset=mini", "--configfile", "tests/slice.yaml"]
QUICK = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"]
RUN = f"{RUNS}/slq/seed1"
TRAINED = f"{RUN}/run.json"
ADAPTER = "scratch/runs/mini/mini-internvl/slq/seed1/adapter.*"
# Enough steps for a fault during the training.
MANY = MANY_STEPS | {"epochs": 6}
# Longer than the one minute that an allocation of 30 minutes leaves for training.
MINUTES_ON_END = {"epochs": 60, "time_limit_margin_minutes": 29}


def job_ids(lines):
    """List the Slurm job of each attempt."""
    return [line["slurm_job"] for line in lines if line["event"] == "attempt"]


def learned(folder):
    """Return the outputs of a training, without times and paths."""
    record = json.loads((folder / RUN / "run.json").read_text())
    kept = {key: record[key] for key in ("val", "weights", "inputs", "parameters")}
    return kept, contents(folder, ADAPTER)


def learned_at_home(folder):
    """Train without Slurm and without interruption; return the outputs."""
    answer = snakemake(folder, *SLICE, "tests/more.yaml", "--", TRAINED)
    assert answer.returncode == 0, answer.stdout
    return learned(folder)


def submit(folder, *arguments):
    """Train on the cluster with tests/more.yaml over the slice, and assert that it succeeds."""
    answer = snakemake(folder, *SLURM, "tests/more.yaml", *QUICK, *arguments, "--", TRAINED, timeout=1800)
    assert answer.returncode == 0, answer.stdout
    return answer


class Submission:
    """A running call of Snakemake that trains on the cluster."""

    def __init__(self, slurm, folder):
        self.slurm, self.folder, self.trail = slurm, folder, Trail(folder / "scratch/work")
        self.earlier = len(slurm.jobs())
        self.start()

    def start(self, *more):
        command = [sys.executable, "-m", "snakemake", *SLURM, "tests/more.yaml", *QUICK, *more, "--", TRAINED]
        tools = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, "PATH": tools}, stdout=log, stderr=log
            )

    @property
    def log(self):
        return self.folder / "submission.log"

    @property
    def jobs(self):
        """The submitted jobs, in order."""
        return self.slurm.jobs()[self.earlier :]

    def reach(self, step):
        """Wait until the training has reached a step."""
        reached = self.trail.reached(step)
        wait_until(reached, f"step {step}", seconds=600)

    def end_well(self):
        """Wait until the call has succeeded and all its jobs have ended."""
        assert self.process.wait(timeout=1800) == 0, self.log.read_text()
        self.wait_for_jobs()

    def wait_for_jobs(self):
        wait_until(lambda: all(job.ended for job in self.jobs), "every job has ended", seconds=600)

    def steps(self):
        """List the attempt of each step, in the order of the steps."""
        return [
            line["attempt"] for line in read_jsonl(self.folder / RUN / "events/train.jsonl") if line["event"] == "step"
        ]
