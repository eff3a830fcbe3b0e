"""Plain-text table of a forecast."""

from collections.abc import Mapping, Sequence
from typing import Any

from slq.cost.forecast import BackboneCostModel, CacheForecast, Range, RunForecast, forecast_preset, wall_hours
from slq.cost.measured_speed import MeasuredSpeeds, Speed
from slq.methods.registry import BASE, find_method

OPTION_TITLES = {"no_memory_saving": "max mem", **{name: name for name in ("released", "features", "batch", "kv")}}
COLUMNS = ("Backbone", "Method", "PFLOP", "train h", "eval h", "GB/device", "disk", *OPTION_TITLES.values())
COLUMN_GROUPS = ("", "", "", "one run", "one run", "set/max", "GB", "", "other ways to train, relative FLOPs")
WIDTHS = (14, 7, 7, 10, 10, 10, 5, 8, 9, 9, 6, 5)  # their sum is 100


def print_forecast(settings: Mapping[str, Any]) -> None:
    """Print the cost forecast of a preset."""
    print(format_forecast(settings, *forecast_preset(settings)))


def format_forecast(settings: Mapping[str, Any], runs: Sequence[RunForecast], caches: Sequence[CacheForecast]) -> str:
    """Format the forecast for the terminal, 100 columns wide unless a label is longer than the paper's labels."""
    variants = settings.get("variants", {})
    labels = [
        variants[run.method]["label"] if run.method in variants else find_method(run.method).label for run in runs
    ]
    longest = max(map(len, labels))
    notes = _measured_speed_lines(settings) if "measured_speeds" in settings else _note_lines(settings)
    backbones = max(WIDTHS[0], *(len(run.label) + 1 for run in runs))
    widths = (backbones, WIDTHS[1] if longest <= WIDTHS[1] else longest + 1, *WIDTHS[2:])
    lines = [f"{_format_columns(COLUMN_GROUPS[:-1], widths)}  {COLUMN_GROUPS[-1]}", _format_columns(COLUMNS, widths)]
    lines += [_format_columns(_run_values(run, label), widths) for run, label in zip(runs, labels, strict=True)]
    return "\n".join([*lines, "", *summary_lines(settings, runs), "", *_cache_lines(caches), *notes])


def _format_columns(values: Sequence[str], widths: Sequence[int]) -> str:
    """Align the first two values, which are labels, to the left, and the others, which are numbers, to the right."""
    aligned = [f"{word:<{width}}" for word, width in zip(values[:2], widths[:2], strict=True)]
    aligned += [f"{word:>{width}}" for word, width in zip(values[2:], widths[2:], strict=False)]
    return "".join(aligned).rstrip()


def _run_values(run: RunForecast, label: str) -> Sequence[str]:
    """Format the values of one run's row."""
    options = [f"{run.relative_flops[name]:.2f}" if name in run.relative_flops else "-" for name in OPTION_TITLES]
    memory = "/".join(f"{value:,.0f}" for value in run.device_gb)
    hours = (_format_hours(run.train_hours), _format_hours(run.evaluation_hours))
    return (run.label, label, _format_petaflop(run.flops), *hours, memory, f"{run.disk_gb:.0f}", *options)


def _format_petaflop(flops: float) -> str:
    """Format PFLOP: whole from ten on (`2,819`), else two digits (`8.7`, or `8.7e-4` below 0.01); a dash for zero."""
    if not flops:
        return "-"
    if flops < 1e13:
        return f"{flops / 1e15:.1e}".replace("e-0", "e-")
    return f"{flops / 1e15:,.0f}" if flops >= 1e16 else f"{flops / 1e15:.2g}"


def _format_hours(hours: Range | None) -> str:
    """Format a range of hours as `1.2-3.4`; a dash for zero or unknown hours."""
    if hours is None or not hours.high:
        return "-"
    digits = 2 if hours.high < 1 else 1 if hours.high < 100 else 0
    if hours.high < 0.1:
        return f"{hours.low:.3f}-{hours.high:.3f}".replace("0.", ".")
    return f"{hours.low:.{digits}f}-{hours.high:.{digits}f}"


def summary_lines(settings: Mapping[str, Any], runs: Sequence[RunForecast]) -> list[str]:
    """Format the sums over all runs: device hours, wall time and price."""
    known_jobs = _all_job_hours(settings, runs)
    if not known_jobs:
        return ["Hours are not known, because accounting.devices in config.yaml does not list the device's peak."]
    low, high = sum(job.low for job in known_jobs), sum(job.high for job in known_jobs)
    num_devices = settings["num_devices"]
    wall_ends = (
        wall_hours([job.low for job in known_jobs], num_devices),
        wall_hours([job.high for job in known_jobs], num_devices),
    )
    price, currency = settings["price"]["device_hour"], settings["price"]["currency"]
    cost = f" At {price:g} {currency} an hour: {low * price:,.0f}-{high * price:,.0f} {currency}." if price else ""
    num_seeds = len(settings["seeds"])
    return [
        f"All runs of {num_seeds} seed(s): {_format_hours(Range(low, high))} hours of {settings['device']}.",
        f"Wall time on {num_devices} at once: {_format_hours(Range(*wall_ends))} h.{cost}",
    ]


def total_hours(settings: Mapping[str, Any], runs: Sequence[RunForecast]) -> str:
    """Format the device hours of all runs; a dash if they are not known."""
    jobs = _all_job_hours(settings, runs)
    return _format_hours(Range(sum(job.low for job in jobs), sum(job.high for job in jobs)))


def decisive_lines(settings: Mapping[str, Any] | None) -> list[str]:
    """Format the hours of the cheapest decisive experiment, from its forecast settings, if the preset names one."""
    if settings is None:
        return []
    hours, count = total_hours(settings, forecast_preset(settings)[0]), len(settings["seeds"])
    return [f"Cheapest decisive experiment, preset {settings['preset']}, {count} seed(s): {hours} hours."]


def _all_job_hours(settings: Mapping[str, Any], runs: Sequence[RunForecast]) -> list[Range]:
    """List the hours of all jobs of all runs; empty if those of any job are not known."""
    jobs = [job for cell in runs for job in _job_hours(cell) * _count_runs(settings, cell)]
    known_jobs = [job for job in jobs if job is not None]
    return known_jobs if len(known_jobs) == len(jobs) else []


def _job_hours(run: RunForecast) -> list[Range | None]:
    """List a run's hours on each device, as if the devices of one training could start at different times."""
    train = run.train_hours and run.train_hours.scale(1 / run.gpus)
    return [train] * run.gpus + [run.evaluation_hours]


def _count_runs(settings: Mapping[str, Any], run: RunForecast) -> int:
    """Count the runs of a method: one per seed, but only one of the base model."""
    return 1 if run.method == BASE else len(settings["seeds"])


def _cache_lines(caches: Sequence[CacheForecast]) -> list[str]:
    """Format the size of each backbone's image cache, if the preset has a method that can read cached prefixes."""
    if not caches:
        return []
    width = max(20, *(len(cache.label) + 1 for cache in caches))
    lines = [
        f"{'Image caches:':<{width}}{'features, disk':>14}{'kv, disk':>11}{'kv, to read':>13}{'batch, device':>19}"
    ]
    for cache in caches:
        speed = "-" if cache.read_bandwidth is None else f"{cache.read_bandwidth:,.1f} GB/s"
        sizes = f"{cache.features_gb:11,.1f} GB{cache.kv_gb:8,.1f} GB{speed:>13}{cache.batch_gb:16,.1f} GB"
        lines.append(f"{cache.label:<{width}}{sizes}")
    return lines


def _measured_speed_lines(settings: Mapping[str, Any]) -> list[str]:
    """Format the speeds that `slq bench` measured, and those estimated from them, each with its error."""
    speeds: MeasuredSpeeds = settings["measured_speeds"]
    lines = ["", f"TFLOP/s of {speeds.device} in {speeds.dtype} as slq bench measured, * estimated from other runs:"]
    for backbone in settings["backbones"]:
        cost_model = BackboneCostModel(settings, backbone)
        methods = (name for name in settings["methods"] if name != BASE)
        cells = (f"{name} {_format_speed(cost_model.find_measured_speed(name))}" for name in methods)
        lines.append(f"{backbone['label']}: {', '.join(cells)}")
    return lines


def _format_speed(speed: Speed) -> str:
    """Format a speed in TFLOP/s with half of its range, as `412 ±3%`, and an asterisk if it is an estimate."""
    error = (speed.high - speed.low) / 2 / speed.median
    return f"{speed.median / 1e12:.3g} ±{error:.0%}{'' if speed.is_measured else '*'}"


def _note_lines(settings: Mapping[str, Any]) -> list[str]:
    """Format the speed range that the forecast assumes."""
    low, high = settings["mfu"]
    speed = f"{settings['peak_tflops']} TFLOP/s times {low:.0%} to {high:.0%}" if settings["peak_tflops"] else "no peak"
    return ["", f"Speed: {speed}."]
