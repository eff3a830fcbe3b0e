"""A number that the paper prints."""

from dataclasses import dataclass

from slq.reporting.cells import Cell


@dataclass(frozen=True)
class Quote:
    """A published number: `value` and `printed` are empty where the paper prints a dash."""

    value: float | None
    printed: str
    source: str

    @classmethod
    def read(cls, value: str, printed: str, source: str) -> "Quote":
        """The number of two fields of a CSV."""
        return cls(float(value) if value else None, printed, source)

    def cell(self, comparable: bool = False) -> Cell:
        """The quoted cell, or a missing one for a dash."""
        if self.value is None:
            return Cell.missing(f"{self.source}: the paper prints a dash")
        return Cell.quoted(self.value, self.printed, self.source, comparable)
