"""Plans that the results on the page were made under, and whether the plan was changed after results (docs/plan.md)."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from slq.results.layout import ReportLayout
from slq.results.load import list_expected_files
from slq.results.record import read_record

SHORT = 12  # characters of a hash in sentences


@dataclass(frozen=True)
class ResultPlans:
    """The plans of a preset's existing results.

    Attributes:
        present: hash of the present plan
        sources: files of the results, by the hash that they record; the key None is for files that record no plan
    """

    present: str
    sources: dict[str | None, list[str]]

    @property
    def others(self) -> dict[str, list[str]]:
        """Files of the results that were made under another plan, by its hash."""
        return {plan: files for plan, files in self.sources.items() if plan is not None and plan != self.present}

    @property
    def sentences(self) -> list[str]:
        """State under which plans the results were made; one short sentence if all are of the present plan."""
        total = sum(map(len, self.sources.values()))
        if not total:
            return [f"Plan {self.present[:SHORT]}; no result exists yet."]
        made = len(self.sources.get(self.present, []))
        lines = [f"{made} of {total} results were made under the present plan, {self.present[:SHORT]}."]
        if self.others:
            counts = ", ".join(f"{plan[:SHORT]}: {len(files)}" for plan, files in self.others.items())
            lines.append(
                f"The plan was changed after results: {sum(map(len, self.others.values()))} of {total} were made under "
                f"another plan ({counts})."
            )
        if None in self.sources:
            number = len(self.sources[None])
            lines.append(f"{number} of {total} results record no plan: made outside Snakemake, or earlier.")
        return lines


def read_result_plans(results: Path, layout: ReportLayout, plan: str) -> ResultPlans:
    """Read the plan of each existing result of a preset, also of results that inherit their numbers.

    Args:
        results: the results folder, which has one folder per preset
        plan: hash of the present plan
    """
    sources: dict[str | None, list[str]] = defaultdict(list)
    for *_, path in list_expected_files(results / layout.preset, layout):
        if path.exists():
            record = read_record(path, results)
            sources[record.content.get("plan")].append(record.source)
    return ResultPlans(plan, dict(sources))
