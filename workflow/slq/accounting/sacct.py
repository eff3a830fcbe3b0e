"""What Slurm's accounting booked for jobs: a second count of the same hours."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

# -X: jobs and not their steps, which would count twice; -D: what was requeued too.
COMMAND = ("sacct", "-X", "-D", "-P", "-n", "--format=JobIDRaw,State,ElapsedRaw,AllocTRES")


def booked_hours(jobs: Sequence[str]) -> float | None:
    """Device hours of these jobs, all their attempts; None where there is no accounting, which one line then says."""
    if not jobs or shutil.which(COMMAND[0]) is None:
        return None
    answer = subprocess.run([*COMMAND, "-j", ",".join(jobs)], capture_output=True, text=True)
    why = answer.stderr.strip() if answer.returncode else ""
    try:
        if not answer.returncode:
            return sum(_device_seconds(line) for line in answer.stdout.splitlines()) / 3600
    except ValueError:
        why = f"answers in another form: {answer.stdout.strip()[:100]!r}"
    print(f"sacct: {why}: hours are not compared with Slurm's", file=sys.stderr)
    return None


def _device_seconds(line: str) -> float:
    """Seconds times GPUs or, of a job without, CPUs."""
    _, _, seconds, allocated = line.split("|")
    counts: dict[str, str] = dict(re.findall(r"(?:^|,)(gres/gpu|cpu)=(\d+)", allocated))
    return int(seconds) * int(counts.get("gres/gpu") or counts.get("cpu") or 0)
