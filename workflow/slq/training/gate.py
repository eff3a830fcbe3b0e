"""Whether learning may begin: not before the checks have passed that the workflow says there are."""

import os
from pathlib import Path

from slq.errors import SlqError

CHECKS = "SLQ_CHECKS"  # names files, each there if and only if its check has passed


def after_checks() -> None:
    """Go on, or stop before any work.

    Raises:
        SlqError: a file that the workflow names is not there.
    """
    for checked in filter(None, os.environ.get(CHECKS, "").split(os.pathsep)):
        if not Path(checked).is_file():
            raise SlqError(
                f"{checked}: not there: this check has not passed, and nothing is trained before it has; "
                f"run `snakemake {checked}`, with the options of this call, and see its message"
            )
