"""Columns, writer and reader of `gpu_hours.csv`, the ledger of a preset's device hours."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd

from slq.common.errors import SlqError
from slq.common.files import read_csv_rows

LEDGER_FILE = "gpu_hours.csv"  # in a preset's folder
BASELINE_STAGE = "baselines"  # the only stage of a baseline, and the name of the folder that holds all baselines


@dataclass(frozen=True)
class LedgerRow:
    """The cost of one stage of a run; None means unknown. docs/hours.md explains each column and its unit."""

    backbone: str
    method: str
    seed: int
    stage: str
    device: str
    devices: float
    attempts: int
    train_hours: float | None = None
    repeated_hours: float | None = None
    total_hours: float | None = None
    pflop: float | None = None
    pflop_grad_cache: float | None = None
    pflop_released: float | None = None
    mfu: float | None = None
    kwh: float | None = None
    memory_gb: float | None = None
    cost: float | None = None
    reused: str = ""
    slurm_jobs: str = ""
    sacct_hours: float | None = None
    sacct_difference: float | None = None
    source: str = ""
    flags: str = ""


COLUMNS = {field.name: field.type for field in fields(LedgerRow)}


def format_ledger_csv(ledger_rows: Iterable[LedgerRow]) -> str:
    """Format the ledger as CSV: numbers with six significant digits, unknown values empty."""
    table = pd.DataFrame([asdict(line) for line in ledger_rows], columns=list(COLUMNS))
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def load_ledger(path: Path) -> pd.DataFrame:
    """Load a ledger with one row per stage of a run or baseline.

    Unknown numbers are NaN. If the file does not exist, the table has no rows.
    """
    rows = []
    for row, line in read_csv_rows(path, list(COLUMNS)) if path.exists() else ():
        try:
            rows.append({key: row[key] if kind is str else float(row[key] or "nan") for key, kind in COLUMNS.items()})
        except ValueError as error:
            remedy = "delete the file and run the workflow again"
            raise SlqError(f"{path}:{line}: {error}; expected a number; {remedy}") from error
    return pd.DataFrame(rows, columns=list(COLUMNS))
