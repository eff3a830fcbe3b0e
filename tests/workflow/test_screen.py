"""Tests of Snakemake's screen output (logger plugin `slq`) on a terminal of 120 columns and in a file."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from snakemake_logger_plugin_slq.handler import LogHandler, RunningJob, find_error, format_seconds
from snakemake_logger_plugin_slq.words import Words
from terminal import COLUMNS, every_line, last_lines, run_on_a_terminal

SNAKEFILE = """
from snakemake_logger_plugin_slq.words import WORDS
WORDS.labels = {"lora": "LoRA", "mini": "InternVL-mini", "data": "COCO"}
WORDS.find_headline = lambda rule, outputs: "T2I R@5 data 97.5" if rule == "train" else ""
WORDS.last_words = lambda rules, is_dry_run, width: [
    "forecast" if is_dry_run else f"done: {sorted(rules)}, columns: {width}"
]

rule all:
    input: "lora.mini.out"

rule draw:
    output: "data.out"
    log: "logs/draw.log"
    message: "Drawing the data of a set with a long name, so that this line does not fit into the terminal's width"
    shell: "echo slq: warning: two pictures look alike > {log}; touch {output}"

rule train:
    input: "data.out"
    output: "{method}.{backbone}.out"
    log: "logs/train.{method}.{backbone}.log"
    message: "Training {wildcards.method} on {wildcards.backbone}"
    shell: "echo step 30 of 60: loss 0.1 > {log}; sleep 2.5; touch {output}"

rule break_down:
    output: "broken.out"
    log: "logs/broken.log"
    message: "Training what fails"
    shell: "(echo loading; echo 'slq: error: config.yaml: seed is 1.5, expected a whole number') > {log}; exit 1"
"""

# After the checkpoint, one more job is planned, as by a learning-rate search.
GROWING = """
def wanted(wildcards):
    return open(checkpoints.choose.get().output[0]).read().split()

rule all:
    input: wanted

checkpoint choose:
    output: "chosen.txt"
    log: "logs/choose.log"
    shell: "echo 1.out 2.out > {output} 2> {log}"

rule try_one:
    output: "{number}.out"
    log: "logs/{number}.log"
    shell: "touch {output} 2> {log}"
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a small workflow."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    return tmp_path


def call(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--cores", "1", "--logger", "slq", "--directory", str(folder), *options]


def on_a_terminal(folder: Path, *options: str, columns: int = COLUMNS, **environment: str) -> str:
    """Return the output of a call on a terminal."""
    return run_on_a_terminal(call(folder, *options), folder, columns, **environment)[1]


def in_a_file(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Return the finished process of a call whose output is not a terminal."""
    return subprocess.run(call(folder, *options), cwd=folder, capture_output=True, text=True, check=False)


def test_on_a_terminal_no_line_is_longer_and_each_finished_job_has_one(folder):
    written = on_a_terminal(folder)
    lines = every_line(written)
    assert max(map(len, lines)) <= COLUMNS
    assert "\x1b[32m[1/3] Drawing the data" in written, "colours on a terminal"
    assert any(
        re.fullmatch(r"\[2/3\] Training LoRA on InternVL-mini: T2I R@5 COCO 97\.5, \d s", line) for line in lines
    )
    assert "1 running: Training LoRA on InternVL-mini 50 %" in lines, "progress while it runs"
    assert any("slq: warning: two pictures look alike" in line for line in lines), "what a job has to say"
    assert "done: ['all', 'draw', 'train'], columns: 120" in lines
    assert not any("Reason" in line or "rule draw" in line or "jobid" in line for line in lines)


def test_on_a_narrow_terminal_lines_are_folded_between_words_and_numbers(folder):
    written = on_a_terminal(folder, columns=60)
    lines = every_line(written)
    assert max(map(len, lines)) <= 60 and "done: ['all', 'draw', 'train'], columns: 60" in lines
    shown = "\n".join(every_line("\n".join(last_lines(written))))
    assert re.search(
        r"^\[1/3\] Drawing the data of a set with a long name, so that\n"
        r"      this line does not fit into the terminal's width,\n"
        r"      \d+(\.\d)? s\n",
        shown,
        re.MULTILINE,
    )


def test_without_colours_a_terminal_has_lines_of_one_colour(folder):
    for written in (on_a_terminal(folder, NO_COLOR="1"), on_a_terminal(folder, "--nocolor", "--forceall")):
        assert "Training LoRA" in written and not re.search(r"\x1b\[\d+m", written)


def test_on_a_terminal_a_failed_job_shows_its_message_and_its_log_once(folder):
    written = on_a_terminal(folder, "broken.out")
    shown = "\n".join(last_lines(written))
    assert "\x1b[31mFAILED: Training what fails (rule break_down)\x1b[0m" in shown
    assert shown.count("slq: error: config.yaml: seed is 1.5, expected a whole number") == 1
    assert shown.count("logs/broken.log") == 1 and "done: [" not in shown


def test_in_a_file_lines_are_plain_and_whole(folder):
    answer = in_a_file(folder)
    assert answer.returncode == 0 and "\x1b" not in answer.stderr and "\r" not in answer.stderr
    assert "so that this line does not fit into the terminal's width, 0." in answer.stderr
    assert "Training LoRA on InternVL-mini: T2I R@5 COCO 97.5, " in answer.stderr


def test_jobs_that_a_search_adds_are_counted(folder):
    (folder / "Snakefile").write_text(GROWING)
    """Snakemake tells the new number with the end of the next job."""
    lines = in_a_file(folder).stderr.splitlines()
    assert [line[:5] for line in lines if line.startswith("[")] == ["[1/2]", "[2/2]", "[3/4]"]


def test_a_second_call_says_that_nothing_is_due_and_no_more(folder):
    in_a_file(folder)
    answer = in_a_file(folder)
    assert "Nothing to be done" in answer.stderr and "done: [" not in answer.stderr


def test_a_failed_job_shows_its_message_and_its_log_once(folder):
    answer = in_a_file(folder, "broken.out")
    assert answer.returncode == 1
    assert "FAILED: Training what fails (rule break_down)\n" in answer.stderr
    assert answer.stderr.count("slq: error: config.yaml: seed is 1.5, expected a whole number") == 1
    assert "log: logs/broken.log" in answer.stderr
    assert "loading" not in answer.stderr and "echo" not in answer.stderr
    assert answer.stderr.count("job execution failed") == 1 and "At least one job" not in answer.stderr
    assert "done: [" not in answer.stderr


def test_a_dry_run_lists_jobs_and_ends_with_their_table_and_the_forecast(folder):
    answer = in_a_file(folder, "--dry-run")
    assert answer.stdout.splitlines()[:2] == [
        "Drawing the data of a set with a long name, so that this line does not fit into the terminal's width",
        "Training LoRA on InternVL-mini",
    ]
    assert re.search(
        r"Job stats:\njob +count\n[- ]+\ndraw +1\ntrain +1\nall +1\ntotal +3\nforecast$", answer.stdout.strip()
    )
    assert "Missing output" not in answer.stdout


@pytest.mark.parametrize("options", [["--dry-run"], []], ids=["planned", "run"])
def test_a_reader_that_leaves_early_stops_no_job_and_sees_no_traceback(folder, options):
    command = f"{shlex.join(call(folder, *options))} {'' if options else '3>&1 1>&2 2>&3'} | true"
    answer = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], cwd=folder, capture_output=True, text=True)
    assert answer.returncode == 0
    assert "Traceback" not in answer.stderr
    assert (folder / "lora.mini.out").exists() is (not options)


def test_reasons_and_commands_are_shown_on_request(folder):
    answer = in_a_file(folder, "--dry-run", "--logger-slq-reasons", "--printshellcmds")
    assert "    because: Missing output files: data.out" in answer.stdout
    assert "touch data.out" in answer.stdout


@pytest.mark.parametrize("quiet", ["all", "progress", "rules"])
def test_quiet_calls_show_the_message_of_a_failed_job(folder, quiet):
    answer = in_a_file(folder, "broken.out", "--quiet", quiet)
    assert answer.returncode == 1 and answer.stderr.count("slq: error: config.yaml: seed is 1.5") == 1
    assert "log: logs/broken.log" in answer.stderr


@pytest.mark.parametrize("quiet", ["all", "progress", "rules"])
def test_quiet_calls_say_nothing_of_jobs(folder, quiet):
    answer = in_a_file(folder, "--quiet", quiet)
    assert answer.returncode == 0 and "Training" not in answer.stderr and "done: [" not in answer.stderr


SNAKEMAKE_ENDS = "Error in rule train:\n    shell:\n        echo slq: x\nShutting down\n"
KILLED = "slurmstepd: error: *** JOB 3 ON a CANCELLED AT 2026-12-01 DUE TO TIME LIMIT ***"


@pytest.mark.parametrize(
    ("rule_log", "slurm_log", "shown"),
    [
        (
            "loading\nslq: error: a.yaml: seed\n  is 1.5\n",
            f"slq: error: a.yaml: seed\n  is 1.5\n{SNAKEMAKE_ENDS}srun: error: a: task 0: Exited with exit code 1\n",
            ["slq: error: a.yaml: seed", "  is 1.5"],
        ),
        ("step 1\nstep 2\n", f"step 1\nstep 2\n{KILLED}\n{SNAKEMAKE_ENDS}", ["step 1", "step 2", KILLED]),
        (None, "slq: error: no space\n", ["slq: error: no space"]),
        (None, None, []),
    ],
)
def test_of_a_failed_job_on_a_cluster_its_message_or_slurms_reason_is_shown(rule_log, slurm_log, shown, tmp_path):
    for name, text in (("rule.log", rule_log), ("3.log", slurm_log)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert find_error([tmp_path / "rule.log", tmp_path / "3.log"]) == shown


def test_of_a_job_that_slurm_refuses_its_reason_is_shown_and_no_log_of_an_earlier_call(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("slq: error: of yesterday\n")
    began = log.stat().st_mtime + 3600
    shown = []
    handler = SimpleNamespace(
        running={7: RunningJob("Training", "train", [], log, None, began)},
        _write=lambda lines, **style: shown.extend(lines),
    )
    refusal = "SLURM sbatch failed. The error message was 'sbatch: error: invalid partition specified: gpu'."
    message = f"{refusal}\n    sbatch call:\n        sbatch --parsable\n"
    record = SimpleNamespace(jobid=7, rule_name="train", rule_msg=message, log=[str(log)])
    LogHandler._show_failed_job(handler, record)
    assert shown == ["FAILED: Training (rule train)", refusal]
    os.utime(log, (began + 1, began + 1))
    handler.running[7] = RunningJob("Training", "train", [], log, None, began)
    LogHandler._show_failed_job(handler, record)
    assert shown[3] == "slq: error: of yesterday" and shown[4].startswith("log: ")


def test_only_whole_names_become_labels():
    words = Words(labels={"lora": "LoRA", "mini": "InternVL-mini"})
    labelled = words.put_labels("Training lora on mini-lora and mini", ["lora", "mini"])
    assert labelled == "Training LoRA on mini-lora and InternVL-mini"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (12.6, "13 s"), (59.4, "59 s"), (125, "2 min 5 s"), (12_000, "3 h 20 min")]
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text
