"""Commands and jobs as processes: any terminal, any user, and errors of the system as one message."""

import errno
import io
import os
import subprocess
import sys

import pytest
import torch

from checkout import ROOT
from nobody import call_as_nobody, give_away, require_other_user
from slq import cli, jobs
from slq.common.errors import SlqError, configure_terminal, run_reporting_errors
from slq.common.events import git_state
from slq.config.values import describe_unquotable_python
from slq.preflight import preflight

TEXT = "3 \u2212 2 \u2013 1 ± 0 → † … “a” · é \u65e5"


def raising(error):
    def work(*_):
        raise error

    return work


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", TEXT),
        ("iso-8859-1", '3 - 2 - 1 ± 0 -> + ... "a" · é \\u65e5'),
        ("ascii", '3 - 2 - 1 +- 0 -> + ... "a" . \\xe9 \\u65e5'),
    ],
)
def test_a_terminal_of_any_encoding_shows_what_it_can(monkeypatch, encoding, shown):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    configure_terminal()
    print(TEXT, end="", flush=True)
    assert terminal.buffer.getvalue().decode(encoding) == shown


def words_of_every_command(folder):
    """Yield calls of commands that print text of their own."""
    reference = str(ROOT / "paper_tables/reference")
    configuration = ["--config", str(ROOT / "config.yaml")]
    yield from (["--help"], *([command.__name__, "--help"] for command in cli.COMMANDS))
    yield from (["sources", *configuration], ["forecast", "--preset", "paper", *configuration])
    yield ["compare", "paper", "paper", "--reference", reference, *configuration]
    yield ["doctor", "--preset", "paper", *configuration]
    yield ["score", str(folder)]


def test_every_command_ends_as_ever_in_a_terminal_without_unicode(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        preflight, "plan_workflow", raising(SlqError("no Snakefile \u2013 here"))
    )  # the real plan would take longer
    for words in words_of_every_command(tmp_path):
        found = []
        for encoding in ("utf-8", "ascii"):
            terminal = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
            monkeypatch.setattr(sys, "stdout", terminal)
            monkeypatch.setattr(sys, "stderr", terminal)
            try:
                status = cli.main(words)
            except SystemExit as error:  # argparse ends by itself after --help
                status = error.code
            terminal.flush()
            found.append((status, terminal.buffer.getvalue().count(b"\n")))
        assert found[0][1] > 0 and len(set(found)) == 1, (words, found)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SlqError("config: x"), 1, "config: x"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 1, "a/b: Permission denied"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a"),
            1,
            "a: No space left on device; free disk space, then run the same",
        ),
        (OSError(errno.EROFS, "Read-only file system", "a", None, "b"), 1, "a: b: Read-only file system; the disk is"),
        (OSError("no name of an error"), 1, "no name of an error"),
        (MemoryError("Unable to allocate 3 GiB"), 1, "not enough memory: Unable to allocate 3 GiB; request more"),
        (torch.OutOfMemoryError("CUDA out of memory"), 1, "not enough memory: CUDA out of memory; request more"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            1,
            "not enough memory: DefaultCPUAllocator: can't",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_system_refuses_is_one_message(capsys, error, status, message):
    assert run_reporting_errors(raising(error)) == status
    told = capsys.readouterr().err
    assert told.startswith(f"slq: error: {message}") and told.count("\n") == 1


def test_a_cache_at_home_that_cannot_be_written_is_said_with_the_variable_that_moves_it(monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    run_reporting_errors(raising(PermissionError(errno.EACCES, "Permission denied", "/nowhere/.cache/library")))
    assert "set XDG_CACHE_HOME to a writable folder" in capsys.readouterr().err


def test_a_bug_leaves_its_traceback():
    for bug in (ZeroDivisionError(), RuntimeError("a shape")):
        with pytest.raises(type(bug)):
            run_reporting_errors(raising(bug))


@pytest.mark.parametrize(
    "call",
    [
        lambda file: cli.main(["compare", "paper", "paper", "--text", file, "--config", str(ROOT / "config.yaml")]),
        lambda file: jobs.main(["audit", file]),
    ],
    ids=["cli", "job"],
)
def test_commands_and_jobs_say_what_the_system_refuses(monkeypatch, capsys, call):
    monkeypatch.chdir(ROOT)
    assert call("/dev/null/x") == 1
    told = capsys.readouterr().err
    assert told.startswith("slq: error: /dev/null/x: ") and told.count("\n") == 1


def test_a_python_that_shells_read_otherwise_is_named(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/slq-1.0/.venv/bin/python3.11")
    assert describe_unquotable_python() == ""
    monkeypatch.setattr(sys, "executable", "/home/a&b/.venv/bin/python")
    assert describe_unquotable_python().startswith("/home/a&b/.venv/bin/python: cluster jobs would not find")


# ---- other users -----------------------------------------------------------------------------------------------------


def test_a_user_without_a_name_and_a_home_gets_what_others_get(tmp_path):
    require_other_user()
    folder = give_away(tmp_path)
    words = ["slq.cli", "forecast", "--config", str(ROOT / "config.yaml")]
    answer = call_as_nobody(folder, *words, PYTHONPATH=str(ROOT / "workflow"))
    assert answer.returncode == 0 and "Image caches:" in answer.stdout, answer.stdout


def test_a_repository_of_another_owner_is_said_with_the_command_that_permits_it(monkeypatch, capsys, tmp_path):
    require_other_user()
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    give_away(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # without a git configuration
    monkeypatch.chdir(tmp_path)
    assert git_state() is None
    told = capsys.readouterr().err
    assert f"run git config --global --add safe.directory {tmp_path}" in told and told.count("\n") == 1


def test_a_folder_that_is_no_repository_is_no_fault(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() is None
    monkeypatch.setenv("PATH", os.devnull)
    assert git_state() is None
    assert capsys.readouterr().err == ""
