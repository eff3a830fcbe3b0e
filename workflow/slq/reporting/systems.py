"""What is published of systems that tables quote, and rows of other papers that stand beside the paper's."""

from dataclasses import dataclass
from pathlib import Path

from slq.reporting.records import Recalls, sourced_rows

OTHERS = "retllm.csv"
SYSTEMS = "systems.csv"
COLUMNS = ["model", "trained_on", "test_seen", "remark", "evidence", "source"]
UNKNOWN = "not stated"


@dataclass(frozen=True)
class System:
    """A quoted system, in words; `evidence` and `source` are of all of them. What is not known is empty."""

    trained_on: str = ""
    test_seen: str = ""
    remark: str = ""
    evidence: str = ""
    source: str = ""

    @property
    def note(self) -> str:
        """As a footnote says it."""
        known = f" ({self.source}; evidence: {self.evidence})" if self.evidence else ""
        said = f"Trained on: {self.trained_on or UNKNOWN}. Test images seen: {self.test_seen or UNKNOWN}"
        return " ".join(filter(None, [f"{said}{known}.", self.remark]))


@dataclass(frozen=True)
class Published:
    """Rows of other papers that stand beside the paper's, and what is known of quoted systems, by model.

    A reference without such files has none of either.
    """

    others: Recalls
    systems: dict[str, System]

    @classmethod
    def read(cls, reference: Path, root: Path) -> "Published":
        """Those of a folder of reference files; errors as in `slq.files.read_rows`."""
        others = Recalls.read(reference / OTHERS, root) if (reference / OTHERS).exists() else Recalls({}, {}, {})
        rows = sourced_rows(reference / SYSTEMS, COLUMNS, root) if (reference / SYSTEMS).exists() else []
        return cls(others, {row.pop("model"): System(**row) for row, _ in rows})

    def note(self, published: Recalls, model: str) -> str:
        """The footnote of a quoted row."""
        return f"Quoted from {published.origins[model]}. {self.systems.get(model, System()).note}"
