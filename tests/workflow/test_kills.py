"""Tests that a run that is killed anywhere and restarted ends with the same bytes as an uninterrupted run.

`make test` includes a fifth of the kills of a training; `make test-all` includes all, and the kills of Snakemake.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from checkout import copy_repository, snakemake
from kills import MANY_STEPS, STEPS, Trail, kill_at, losses, steps_to_kill_at, trainer

TRAINER = {"slq": (3, 14), "lora": (3, 13), "full_ft": (2, 13)}  # numbers of kills: a fifth, and all
IN_WRITES = (1, 4)  # minimum number of kills during a checkpoint write
SNAKEMAKE = 10


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["a fifth", "all"])
def all_of_them(request):
    return request.param


def left(folder):
    """Return the contents of a finished run, without times and paths."""
    record = json.loads((folder / "run.json").read_text())
    kept = {key: record[key] for key in ("val", "weights", "inputs", "parameters", "settings")}
    return kept, {path.name: path.read_bytes() for path in sorted((folder / "adapter").iterdir())}


@pytest.mark.parametrize("method", TRAINER)
def test_a_killed_trainer_ends_with_the_same_bytes(slice_, method, all_of_them, capsys):
    uninterrupted, name = f"{method}-whole-{all_of_them}", f"{method}-killed-{all_of_them}"
    slice_.train(method, uninterrupted, MANY_STEPS)
    whole = losses(slice_.root / uninterrupted / "events.jsonl")
    trail, kills = Trail(slice_.root / "work" / name), []
    for number, step in enumerate(steps_to_kill_at(TRAINER[method][all_of_them], STEPS, seed=len(method))):
        into_write = number < IN_WRITES[all_of_them]
        reached = trail.reached(step)
        process = trainer(slice_, method, name)
        assert kill_at(process, lambda now=reached, write=into_write: now() and (not write or trail.writing()))
        kills.append(trail.found())
    assert trainer(slice_, method, name).wait() == 0, (slice_.root / f"{name}.log").read_text()
    with capsys.disabled():
        print(
            f"\n{method}: killed after steps",
            *(f"{kill.step}{'w' * kill.writing}" for kill in kills),
            f"of {len(whole)}",
        )
    assert len(whole) == STEPS > max(kill.step for kill in kills)
    assert len({kill.step for kill in kills}) >= min(len(kills), 10)
    assert sum(kill.writing for kill in kills) >= 1, "some kill falls into the writing of a checkpoint"
    assert left(slice_.root / name) == left(slice_.root / uninterrupted)
    events = slice_.root / name / "events.jsonl"
    assert losses(events) == whole
    assert {json.loads(line)["attempt"] for line in events.read_text().splitlines()} >= {1, len(kills) + 1}
    assert not list((slice_.root / "work" / name).glob("*/checkpoints")), "no checkpoint outlives its run"


COMMAND = [
    "--cores",
    "1",
    "--configfile",
    "tests/slice.yaml",
    "tests/many.yaml",
    "--nolock",
    "--rerun-incomplete",
    "--",
]
RUN = "results/mini/mini-internvl/slq/seed1"
MADE = (f"{RUN}/retrieval/mini-coco.json", f"{RUN}/retrieval/mini-coco.ranks.parquet")
ADAPTER = "scratch/runs/mini/mini-internvl/slq/seed1"


@pytest.mark.slow
def test_a_killed_snakemake_ends_with_the_same_bytes(tmp_path, capsys):
    """Snakemake is killed alone, so that its training continues, and together with its children, in turns."""
    folder = copy_repository(tmp_path / "checkout")
    (folder / "tests/many.yaml").write_text(json.dumps({"presets": {"mini": {"training": MANY_STEPS}}}))
    ready = ("scratch/backbones/mini-internvl/manifest.json", "scratch/data/mini-coco/test/manifest.json")
    ready += ("scratch/data/mini-flickr30k/test/manifest.json",)
    assert snakemake(folder, *COMMAND, *ready).returncode == 0
    trail, kills = Trail(folder / "scratch/work"), []
    steps = steps_to_kill_at(SNAKEMAKE, STEPS, seed=3)
    environment = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}
    while len(kills) < len(steps):
        reached, group = trail.reached(steps[len(kills)]), len(kills) % 2 == 0
        with (folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "snakemake", *COMMAND, MADE[0]]
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        if kill_at(process, reached, group):
            kills.append((trail.last()[1], group))
        else:  # an orphaned training had just finished the run
            assert process.returncode == 0, (folder / "log").read_text()
            for made in ("results", "scratch/runs"):
                shutil.rmtree(folder / made)
    answer = snakemake(folder, *COMMAND, MADE[0])
    assert answer.returncode == 0, answer.stdout
    with capsys.disabled():
        print("\nSnakemake: killed after steps", *(f"{step}{'g' * group}" for step, group in kills))
    once = copy_repository(tmp_path / "once")
    (once / "tests/many.yaml").write_text((folder / "tests/many.yaml").read_text())
    assert snakemake(once, *COMMAND, MADE[0]).returncode == 0
    for name in (*MADE, f"{ADAPTER}/adapter.json", f"{ADAPTER}/adapter.safetensors"):
        assert (folder / name).read_bytes() == (once / name).read_bytes(), name
