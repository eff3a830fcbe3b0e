"""Published recalls of public models, which ours must reach: `paper_tables/reference/instrument.csv`."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_rows
from slq.evaluation.ranks import KS

METRICS = tuple(f"R@{k}" for k in KS)
GOLDEN = ["model", "set", "direction", "metric", "value", "tolerance", "source"]


def read_golden(path: Path, model: str) -> list[dict[str, Any]]:
    """The rows of one model, an encoder of config.yaml, each on a set of the paper; value and tolerance in percent.

    Raises:
        SlqError: the file cannot be read, a value is no number, a metric unknown, or there is no value of the model.
    """
    found: list[dict[str, Any]] = []
    for row, line in read_rows(path, GOLDEN):
        if row["direction"] not in ("t2i", "i2t") or row["metric"] not in METRICS:
            raise SlqError(
                f"{path}:{line}: {row['direction']} {row['metric']}; expected t2i or i2t, and R@1, R@5 or R@10"
            )
        try:
            found.append({**row, "value": float(row["value"]), "tolerance": float(row["tolerance"])})
        except ValueError as error:
            raise SlqError(f"{path}:{line}: value and tolerance must be numbers ({error})") from error
    own = [golden for golden in found if golden["model"] == model]
    if not own:
        known = ", ".join(sorted({golden["model"] for golden in found}))
        raise SlqError(f"{path}: has no value of {model}, so nothing can be checked with it; there are {known}")
    return own
