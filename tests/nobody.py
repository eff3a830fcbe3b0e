"""Commands run as in a container: by a user id without a name that may write only to its own folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UID = 12345  # a user id without a user
# Permission to read files of the tests' user, such as a Python in the home folder.
CAPABILITIES = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
SETPRIV = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", *CAPABILITIES]


def require_other_user() -> None:
    """Skip a test if commands cannot be run by another user, which needs root and util-linux."""
    if (
        os.geteuid()
        or not shutil.which("setpriv")
        or subprocess.run([*SETPRIV, "true"], capture_output=True).returncode
    ):
        pytest.skip("no command can be run by another user here")


def give_away(folder: Path) -> Path:
    """Make that user the owner of a folder and its contents."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)
    return folder


def call_as_nobody(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m` with these words in a folder and only this environment; stdout and stderr are one text."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        [*SETPRIV, sys.executable, "-m", *command],
        cwd=folder,
        env={"PATH": path, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
