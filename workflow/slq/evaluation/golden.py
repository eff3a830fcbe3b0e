"""Published recalls of public models, which ours must reach: `paper_tables/reference/instrument.csv`."""

from dataclasses import dataclass
from pathlib import Path

from slq.errors import SlqError
from slq.files import read_rows

GOLDEN = ["model", "set", "direction", "metric", "value", "tolerance", "source"]


@dataclass(frozen=True)
class Golden:
    """A published recall: of an encoder of config.yaml, on a set of the paper; value and tolerance in percent."""

    model: str
    set: str
    direction: str
    metric: str
    value: float
    tolerance: float
    source: str


def read_golden(path: Path, model: str, metrics: dict[str, tuple[str, ...]]) -> list[Golden]:
    """The values of one model.

    Args:
        metrics: by direction, those that can be computed

    Raises:
        SlqError: the file cannot be read, a value is no number, a metric unknown, or there is no value of the model.
    """
    found = []
    for row, line in read_rows(path, GOLDEN):
        if row["metric"] not in metrics.get(row["direction"], ()):
            raise SlqError(
                f"{path}:{line}: {row['direction']} {row['metric']}; expected t2i or i2t, and R@1, R@5 or R@10"
            )
        try:
            value, tolerance = float(row["value"]), float(row["tolerance"])
        except ValueError as error:
            raise SlqError(f"{path}:{line}: value and tolerance must be numbers ({error})") from error
        place = (row["model"], row["set"], row["direction"], row["metric"])
        found.append(Golden(*place, value, tolerance, row["source"]))
    own = [golden for golden in found if golden.model == model]
    if not own:
        known = ", ".join(sorted({golden.model for golden in found}))
        raise SlqError(f"{path}: has no value of {model}, so nothing can be checked with it; there are {known}")
    return own
