"""Published recalls of public models that we must reproduce: `paper_tables/reference/reference_recalls.csv`."""

from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.files import read_csv_rows
from slq.evaluation.ranks import RECALL_KS

RECALL_METRICS = tuple(f"R@{k}" for k in RECALL_KS)
REFERENCE_COLUMNS = ["model", "dataset", "direction", "metric", "value", "tolerance", "source"]


def read_reference_recalls(path: Path, model: str) -> list[dict[str, Any]]:
    """Read the published recalls of one model, with values and tolerances in percent.

    Args:
        path: path of the table; each row is a recall on a dataset of the paper.
        model: name of an encoder in config.yaml, which must have at least one row.
    """
    references: list[dict[str, Any]] = []
    for row, line in read_csv_rows(path, REFERENCE_COLUMNS):
        if row["direction"] not in ("t2i", "i2t") or row["metric"] not in RECALL_METRICS:
            raise SlqError(
                f"{path}:{line}: {row['direction']} {row['metric']}; expected t2i or i2t, and R@1, R@5 or R@10"
            )
        try:
            references.append({**row, "value": float(row["value"]), "tolerance": float(row["tolerance"])})
        except ValueError as error:
            raise SlqError(f"{path}:{line}: value and tolerance must be numbers ({error})") from error
    model_references = [row for row in references if row["model"] == model]
    if not model_references:
        known = ", ".join(sorted({row["model"] for row in references}))
        raise SlqError(f"{path}: has no value of {model}, so the model cannot be checked; models with values: {known}")
    return model_references
