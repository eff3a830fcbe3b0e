"""Whether learning may begin: not before the instrument check has passed, where the workflow says that there is one."""

import os
from pathlib import Path

from slq.errors import SlqError

INSTRUMENT = "SLQ_INSTRUMENT"  # names a file that is there if and only if the check has passed


def after_instruments() -> None:
    """Go on, or stop before any work.

    Raises:
        SlqError: the file that the workflow names is not there.
    """
    checked = os.environ.get(INSTRUMENT)
    if checked and not Path(checked).is_file():
        raise SlqError(
            f"{checked}: not there: the instrument check has not passed, and nothing is trained before it has; "
            "run `snakemake instrument`, with the options of this call, and see its message"
        )
