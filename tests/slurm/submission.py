"""The workflow submitted to a real Slurm (cluster.py) on the slice, and what is left of a training that it ran."""

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
# Long enough for a fault.
MANY = MANY_STEPS | {"epochs": 6}
# Longer than the minute that is left of an allocation of 30 minutes.
MINUTES_ON_END = {"epochs": 60, "time_limit_margin_minutes": 29}


def job_ids(lines):
    """The Slurm job of each attempt."""
    return [line["slurm_job"] for line in lines if line["event"] == "attempt"]


def learned(folder):
    """What a training leaves, but for its times and its place."""
    record = json.loads((folder / RUN / "run.json").read_text())
    kept = {key: record[key] for key in ("val", "weights", "inputs", "parameters")}
    return kept, contents(folder, ADAPTER)


def learned_at_home(folder):
    """The same without Slurm, which nothing interrupts."""
    answer = snakemake(folder, *SLICE, "tests/more.yaml", "--", TRAINED)
    assert answer.returncode == 0, answer.stdout
    return learned(folder)


def submit(folder, *arguments):
    """Train on the cluster, with the settings of tests/more.yaml over the slice's, to a good end."""
    answer = snakemake(folder, *SLURM, "tests/more.yaml", *QUICK, *arguments, "--", TRAINED, timeout=1800)
    assert answer.returncode == 0, answer.stdout
    return answer


class Submission:
    """The command on a training, while it runs."""

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
        """The jobs that it has submitted, in order."""
        return self.slurm.jobs()[self.earlier :]

    def reach(self, step):
        """Wait until training has come so far."""
        reached = self.trail.reached(step)
        wait_until(reached, f"step {step}", seconds=600)

    def end_well(self):
        """Wait until it has ended, and all its jobs."""
        assert self.process.wait(timeout=1800) == 0, self.log.read_text()
        self.wait_for_jobs()

    def wait_for_jobs(self):
        wait_until(lambda: all(job.ended for job in self.jobs), "every job has ended", seconds=600)

    def steps(self):
        """The attempt of each step, in the order in which they were taken."""
        return [
            line["attempt"] for line in read_jsonl(self.folder / RUN / "events/train.jsonl") if line["event"] == "step"
        ]
