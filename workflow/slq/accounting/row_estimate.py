"""The forecast of rows that are no runs: in print, at most 100 columns wide, and as lines of a CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from slq.accounting.estimate import hours, line, petaflop
from slq.accounting.forecast import Range, wall_hours
from slq.accounting.row_costs import Part, RowCost

ABOVE = ("", "", "PFLOP", "re-ranking", "", "T2I", "one device")
COLUMNS = ("Row of Table 1", "Set", "embedding", "T2I", "I2T", "anew", "h")
WIDTHS = (36, 15, 14, 11, 7, 6, 11)  # 100 in all
UNKNOWN = "not forecast"
FIELDS = ("row", "kind", "set", "stage", "direction", "flops", "flops_anew", "hours_low", "hours_high", "reason")


def table(settings: Mapping[str, Any], costs: Sequence[RowCost]) -> str:
    """A line per row, set and gallery, and what all of them take."""
    if not costs:
        return "No rows of Table 1 beside the runs."
    heads = [line(ABOVE, WIDTHS), line(COLUMNS, WIDTHS)]
    return "\n".join([*heads, *map(_row, costs), "", *_sums(settings, costs), *_notes(settings, costs)])


def rows(costs: Sequence[RowCost]) -> str:
    """CSV of every part, unrounded; empty where nothing is known, for the reason beside it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for cost in costs:
        for part in cost.parts:
            ends = (part.hours.low, part.hours.high) if part.hours else (None, None)
            numbers = (part.flops, part.anew, *ends)
            writer.writerow([cost.row, cost.kind, cost.set, part.stage, part.direction, *numbers, part.reason])
    return text.getvalue()


def hours_of_rows(costs: Sequence[RowCost]) -> dict[str, Range | None]:
    """Hours of each row's job, which takes all sets; None where those of a part are not known."""
    found: dict[str, Range | None] = {}
    for cost in costs:
        before = found.get(cost.row, Range(0.0, 0.0))
        found[cost.row] = None if before is None or cost.hours is None else before + cost.hours
    return found


def _row(cost: RowCost) -> str:
    embed, t2i, i2t = (cost.part(*place) for place in (("embed", "both"), ("rerank", "t2i"), ("rerank", "i2t")))
    factor = f"{t2i.anew / t2i.flops:.1f}x" if t2i and t2i.anew and t2i.flops else "-"
    numbers = (*map(_petaflop, (embed, t2i, i2t)), factor, hours(cost.hours))
    return line((cost.row, cost.set, *numbers), WIDTHS)


def _petaflop(part: Part | None) -> str:
    """A dash where there is nothing to do, which is not what is not known."""
    if part is None:
        return "-"
    return UNKNOWN if part.flops is None else petaflop(part.flops)


def _sums(settings: Mapping[str, Any], costs: Sequence[RowCost]) -> list[str]:
    """Of the rows whose hours are known; what the others lack."""
    by_row = hours_of_rows(costs)
    known = [found for found in by_row.values() if found is not None]
    lines = []
    if known:
        all_ = sum(known, Range(0.0, 0.0))
        at_once = settings["at_once"]
        wall = Range(*(wall_hours([getattr(job, end) for job in known], at_once) for end in ("low", "high")))
        of = f"{len(known)} of {len(by_row)} rows"
        lines.append(f"{of}: {hours(all_)} hours of {settings['device']}; on {at_once} at once {hours(wall)} h.")
    else:
        lines.append("Hours of rows are not known: no peak and no bench file, or no closed form.")
    reasons = dict.fromkeys(part.reason for cost in costs for part in cost.parts if part.reason)
    return lines + [f"{UNKNOWN.capitalize()}: {reason}." for reason in reasons]


def _notes(settings: Mapping[str, Any], costs: Sequence[RowCost]) -> list[str]:
    """What re-ranking counts, where there is some."""
    if all(cost.kind != "rerank" for cost in costs):
        return []
    k = settings["rerank"]["k"]
    return [
        f"Re-ranking: {k} candidates of a query; anew: T2I as a multiple, if each question ran its image anew.",
        "A set's further gallery, set.variant: at most; candidates that the first has are asked about once.",
    ]
