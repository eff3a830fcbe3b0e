"""Commands as a container may run them: by a user id that has no name, and may write nowhere but in its own folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UID = 12345  # of no user
# To read what the tests' own user may read, such as a Python in its home.
CAPABILITIES = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
SETPRIV = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", *CAPABILITIES]


def require_other_user() -> None:
    """Skip a test where no command can be run by another user: only root may, by util-linux."""
    if (
        os.geteuid()
        or not shutil.which("setpriv")
        or subprocess.run([*SETPRIV, "true"], capture_output=True).returncode
    ):
        pytest.skip("no command can be run by another user here")


def give_away(folder: Path) -> Path:
    """Make a folder, and all in it, that user's own."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)
    return folder


def call_as_nobody(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call Python's `-m` with these words in a folder, with no environment but this; both outputs as one text."""
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
