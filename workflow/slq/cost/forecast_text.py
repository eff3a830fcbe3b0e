"""A forecast as one table of plain text, at most 100 columns wide."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.config.baselines import METHODS
from slq.cost.forecast import Cell, Range, Store, wall_hours

OPTIONS = ("plain", "released", "vision", "resident", "kv")
COLUMNS = ("Backbone", "Method", "PFLOP", "train h", "eval h", "GB/device", "disk", *OPTIONS)
ABOVE = ("", "", "", "one run", "one run", "set/plain", "GB", "", "training otherwise, in shares")
WIDTHS = (14, 7, 7, 10, 10, 10, 5, 7, 9, 7, 9, 5)  # 100 in all


def table(settings: Mapping[str, Any], cells: Sequence[Cell], stores: Sequence[Store]) -> str:
    """The forecast in print."""
    lines = [f"{_line(ABOVE[:-1])}  {ABOVE[-1]}", _line(COLUMNS)]
    lines += [_row(cell) for cell in cells]
    return "\n".join([*lines, "", *_sums(settings, cells), "", *_stores(settings, stores), *_notes(settings)])


def _line(words: Sequence[str]) -> str:
    """Words in columns: the first two to the left, the others, which are numbers, to the right."""
    aligned = [f"{word:<{width}}" for word, width in zip(words[:2], WIDTHS[:2], strict=True)]
    aligned += [f"{word:>{width}}" for word, width in zip(words[2:], WIDTHS[2:], strict=False)]
    return "".join(aligned).rstrip()


def _row(cell: Cell) -> str:
    options = [f"{cell.options[name]:.2f}" if name in cell.options else "-" for name in OPTIONS]
    memory = "/".join(f"{value:,.0f}" for value in cell.memory)
    words = (cell.label, METHODS[cell.method], _petaflop(cell.flops))
    return _line((*words, _hours(cell.train), _hours(cell.evaluate), memory, f"{cell.disk:.0f}", *options))


def _petaflop(flops: float) -> str:
    """`2,819`, of what is less than ten two digits, `8.7e-4` of what is less than 0.01; a dash for nothing."""
    if not flops:
        return "-"
    if flops < 1e13:
        return f"{flops / 1e15:.1e}".replace("e-0", "e-")
    return f"{flops / 1e15:,.0f}" if flops >= 1e16 else f"{flops / 1e15:.2g}"


def _hours(found: Range | None) -> str:
    """`1.2-3.4`, a dash for nothing to do and for what is not known."""
    if found is None or not found.high:
        return "-"
    digits = 2 if found.high < 1 else 1 if found.high < 100 else 0
    if found.high < 0.1:
        return f"{found.low:.3f}-{found.high:.3f}".replace("0.", ".")
    return f"{found.low:.{digits}f}-{found.high:.{digits}f}"


def _sums(settings: Mapping[str, Any], cells: Sequence[Cell]) -> list[str]:
    shares = [job for cell in cells for job in _jobs(cell) * _runs(settings, cell)]
    known = [job for job in shares if job is not None]
    if len(known) < len(shares) or not known:
        return ["Hours are not known: the device's peak is not among accounting.devices of config.yaml."]
    low, high = sum(job.low for job in known), sum(job.high for job in known)
    at_once = settings["at_once"]
    ends = (wall_hours([job.low for job in known], at_once), wall_hours([job.high for job in known], at_once))
    price, currency = settings["price"]["device_hour"], settings["price"]["currency"]
    cost = f" At {price:g} {currency} an hour: {low * price:,.0f}-{high * price:,.0f} {currency}." if price else ""
    return [
        f"All runs of {len(settings['seeds'])} seed(s): {_hours(Range(low, high))} hours of {settings['device']}.",
        f"Wall time on {at_once} at once: {_hours(Range(*ends))} h.{cost}",
    ]


def _jobs(cell: Cell) -> list[Range | None]:
    """Hours on each device that a run takes; those of one training as if they could begin at different times."""
    train = cell.train and cell.train.times(1 / cell.gpus)
    return [train] * cell.gpus + [cell.evaluate]


def _runs(settings: Mapping[str, Any], cell: Cell) -> int:
    return 1 if cell.method == "base" else len(settings["seeds"])


def _stores(settings: Mapping[str, Any], stores: Sequence[Store]) -> list[str]:
    if "slq" not in settings["methods"]:
        return []
    lines = ["What options keep:  vision, disk   kv, disk   kv, to read   resident, device"]
    for store in stores:
        speed = "-" if store.bandwidth is None else f"{store.bandwidth:,.1f} GB/s"
        sizes = f"{store.vision:11,.1f} GB{store.kv:8,.1f} GB{speed:>13}{store.resident:16,.1f} GB"
        lines.append(f"{store.label:<20}{sizes}")
    return lines


def _notes(settings: Mapping[str, Any]) -> list[str]:
    low, high = settings["mfu"]
    how = f"{settings['peak_tflops']} TFLOP/s times {low:.0%} to {high:.0%}" if settings["peak_tflops"] else "no peak"
    return ["", f"Speed: {how}."]
