"""What was timed, as tables of plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

GB = 1e9


def step_table(found: Mapping[str, Any]) -> str:
    """A line for each way to train."""
    lines = [
        f"A training step of {found['backbone']}, {_circumstances(found)}; N = {found['queries']}.",
        "Resident is the mean over the captions of an image, in steps that follow each other.",
        "",
        f"{'':<10}{'s/step':>9}{'faster':>8}{'pairs/s':>9}{'TFLOP':>8}{'MFU':>6}{'peak GB':>9}{'held GB':>9}{'held':>6}"
        f"{'hours':>9}{'paper':>8}",
    ]
    for row in found["rows"]:
        lines.append(
            f"{row['variant']:<10}{row['seconds']:9.3f}{_times(row['times_faster']):>8}{row['pairs_per_second']:9.2f}"
            f"{row['flops'] / 1e12:8.3f}{_percent(row['mfu']):>6}{row['peak_bytes'] / GB:9.2f}"
            f"{row['held_bytes'] / GB:9.2f}{_percent(row['share_held']):>6}{row['hours']:9.1f}"
            f"{_hours(row['paper_hours']):>8}"
        )
    lines += [
        "",
        "Faster, held: against the released algorithm (reference). Hours: of one such device, for all epochs of the",
        "preset's training set; beside them the paper's GPU hours, on H800, for SLQ those of the released algorithm.",
        "Loss and gradient of the queries, relative to the reference's:",
        _apart(found["agreement"]),
    ]
    return "\n".join(lines)


def embed_table(found: Mapping[str, Any]) -> str:
    """A line for each way to embed."""
    counts = found["counts"]
    title = (
        f"Embedding {counts['images']} images and {counts['captions']} captions with {found['backbone']}, "
        f"{_circumstances(found)}; N = {found['queries']}."
    )
    return "\n".join([title, "", *_compared(found["rows"])])


def rerank_table(found: Mapping[str, Any]) -> str:
    """A line for each way to ask about candidates."""
    counts = found["counts"]
    title = (
        f"Asking {found['backbone']} about {counts['images']} images with {counts['candidates']} captions each, "
        f"{_circumstances(found)}."
    )
    return "\n".join([title, "", *_compared(found["rows"])])


def _compared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of `slq.bench.embed.compared`."""
    lines = [f"{'':<10}{'':<16}{'seconds':>9}{'a second':>10}{'faster':>8}{'apart':>10}"]
    for row in rows:
        lines.append(
            f"{row['what']:<10}{row['way']:<16}{row['seconds']:9.3f}{row['per_second']:10.2f}"
            f"{_times(row['times_faster']):>8}{row['apart']:10.1e}"
        )
    return lines


def _circumstances(found: Mapping[str, Any]) -> str:
    device = found["device"]
    return (
        f"random weights in {found['dtype']}, {found['batch']} at once, median of {found['repeats']}, on "
        f"{device['count']} x {device['name']}"
    )


def _hours(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _apart(agreement: Mapping[str, Mapping[str, float]]) -> str:
    parts: Sequence[str] = [f"{name} {one['loss']:.0e}/{one['gradient']:.0e}" for name, one in agreement.items()]
    return ", ".join(parts) + "."
