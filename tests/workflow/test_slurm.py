"""Tests of the resources requested from Slurm for each job, with stand-ins for its commands."""

import json
import os
import re
from collections import defaultdict
from pathlib import Path

from checkout import place, snakemake

STAND_INS = Path(__file__).parents[1] / "slurm/stand_ins"
QUICK = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "1"]
SETS = ["coco/train", "coco/val", "coco/test", "flickr30k/test", "mmmu/test", "realworldqa/test", "ocrbench/test"]
BACKBONES = ["InternVL3-1B", "Qwen3-VL-2B", "Qwen3-VL-4B", "InternVL3-8B"]


def submit(folder, *arguments):
    """Request targets with the profile; every job fails at once. Return sbatch's arguments by rule, in order."""
    jobs = folder / "jobs"
    jobs.mkdir()
    answer = snakemake(
        folder,
        *["--cores", "all", "--profile", "slurm", *QUICK, *arguments],
        PATH=os.pathsep.join([str(STAND_INS), os.environ["PATH"]]),
        STAND_IN_JOBS=str(jobs),
    )
    assert answer.returncode == 1, answer.stdout
    submitted = defaultdict(list)
    for path in sorted(jobs.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        call = json.loads(path.read_text())
        rule = re.match(r"rule_(.+?)_wildcards", call[call.index("--comment") + 1])
        submitted[rule[1]].append(call)
    return submitted, answer.stdout


def place_inputs(folder):
    """Create the datasets and backbones of the paper preset as empty files."""
    place(folder, *(f"scratch/data/{name}/manifest.json" for name in SETS))
    place(folder, *(f"scratch/backbones/{name}/manifest.json" for name in BACKBONES))


def flags(call):
    """Parse the requests of a job: all flags except those that name the run, its log and its command."""
    named = {"--job-name", "--output", "--comment", "-D"}
    found, arguments = {}, iter(call)
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if sign == "" and name in ("--job-name", "--output", "--comment", "-D", "-t", "--mem", "-p", "-A"):
            value = next(arguments)
        if name not in named and name != "--wrap":
            found[name] = value
    return found


def asks(cpus, memory, minutes, gpus):
    """Return the expected flags, without partition and account, which depend on the site."""
    tasks = {"--gpus": str(gpus)} if gpus else {"--ntasks": "1"}
    return {
        "--parsable": "",
        "--export": "ALL",
        "--requeue": "",
        "-t": str(minutes),
        "--mem": str(memory),
        "--cpus-per-task": str(cpus),
        **tasks,
    }


def twice(cpus, memory, minutes, gpus):
    """Return the expected flags of a job's first and second submission."""
    return [asks(cpus, memory * attempt, minutes * attempt, gpus) for attempt in (1, 2)]


def test_paper_runs_ask_for_what_config_and_the_closed_form_say_and_once_more_for_twice_as_much(checkout):
    """Full fine-tuning at 8B needs more than the maximum, which it requests; an evaluation at 1B, 20 of 480 minutes."""
    place_inputs(checkout)
    place(checkout, "results/paper/audit.json", "results/paper/InternVL3-1B/slq/seed1/run.json")
    place(checkout, "scratch/runs/paper/InternVL3-1B/slq/seed1/adapter.json")
    place(checkout, "scratch/runs/paper/InternVL3-1B/base/seed0/retained.json")
    submitted, _ = submit(
        checkout,
        "results/paper/InternVL3-8B/full_ft/seed1/run.json",
        "results/paper/InternVL3-8B/base/seed0/run.json",
        "results/paper/InternVL3-1B/slq/seed1/retrieval/coco.json",
        "results/paper/InternVL3-1B/slq/seed1/retention/mmmu.json",
    )
    assert {rule: [flags(call) for call in calls] for rule, calls in submitted.items()} == {
        "train": twice(cpus=12, memory=202_000, minutes=1440, gpus=4),
        "register_base": twice(cpus=4, memory=32_000, minutes=240, gpus=0),
        "evaluate_retrieval": twice(cpus=12, memory=14_000, minutes=20, gpus=1),
        "check_equivalence": twice(cpus=12, memory=14_000, minutes=20, gpus=1),
    }
    call = submitted["train"][0]
    assert call[call.index("--comment") + 1] == "rule_train_wildcards_paper_InternVL3-8B_full_ft_1"
    assert call[call.index("--job-name") + 1].startswith("slq_")
    log = Path(call[call.index("--output") + 1]).relative_to(checkout)
    assert log.as_posix() == "logs/slurm/rule_train/paper_InternVL3-8B_full_ft_1/%j.log"


def test_what_the_mini_preset_makes_itself_goes_to_the_cluster_too(checkout):
    # Runs that this smaller preset leaves out can be made in one call with its audit.
    (checkout / "mine.yaml").write_text("presets: {mini: {backbones: [mini-internvl], retention_datasets: []}}")
    place(checkout, *(f"scratch/data/mini-coco/{split}/manifest.json" for split in ("train", "val", "test")))
    place(checkout, *(f"scratch/data/{name}/test/manifest.json" for name in ("mini-flickr30k", "mini-karr")))
    place(checkout, "scratch/backbones/mini-internvl/manifest.json")
    submitted, _ = submit(
        checkout,
        "scratch/data/mini-realworldqa/test/manifest.json",
        "scratch/backbones/mini-qwen3vl/manifest.json",
        "results/mini/audit.json",
        *["--retries", "0", "--configfile", "mine.yaml"],
    )
    assert {rule: [flags(call) for call in calls] for rule, calls in submitted.items()} == {
        "make_synthetic_split": [asks(cpus=1, memory=3_000, minutes=60, gpus=0)],
        "pretrain_backbone": [asks(cpus=1, memory=3_000, minutes=60, gpus=0)],
        "audit": [asks(cpus=1, memory=3_000, minutes=60, gpus=0)],
    }


def test_what_needs_the_network_or_a_persons_folders_runs_where_it_was_called(checkout, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    place_inputs(checkout)
    (checkout / "scratch/data/mmmu/test/manifest.json").unlink()
    submitted, output = submit(checkout, "results/paper/audit.json", "--retries", "0")
    assert submitted == {}
    assert "slq: error: dataset:MMMU/MMMU@main: not fetched yet" in output
