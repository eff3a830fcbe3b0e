"""Forecasts from bench files: measured speeds, estimates for what was not measured, and files that are refused."""

import json
from pathlib import Path

import pytest

from slq.cli import main
from slq.common.errors import SlqError
from slq.config.cost_settings import forecast_settings
from slq.config.loading import validate_config
from slq.cost.forecast import forecast_preset
from slq.cost.forecast_table import format_forecast
from slq.cost.measured_speed import (
    ASSUMED_ERROR_FACTOR,
    BENCH_SCHEMA,
    MeasuredSpeeds,
    apply_bench,
    apply_measurements,
    bench_variant,
)
from slq.methods.registry import find_method

# Of `slq bench --preset mini --backbone NAME --whole-step --repeats 3 --json FILE` on a CPU.
STORED = sorted((Path(__file__).parents[2] / "data/bench").glob("mini-*.json"))
PAPER = ("InternVL3-1B", "Qwen3-VL-2B", "Qwen3-VL-4B", "InternVL3-8B")


def bench(backbone, device="NVIDIA H200", dtype="bfloat16", **seconds):
    """A bench in which each variant computes 12 TFLOP a step in these seconds."""
    rows = [{"variant": name, "flops": 12e12, "all_seconds": list(times)} for name, times in seconds.items()]
    circumstances = {"schema": BENCH_SCHEMA, "device": {"name": device}, "dtype": dtype}
    return circumstances | {"backbone": backbone, "rows": rows}


@pytest.fixture
def settings(raw_config):
    return lambda preset: forecast_settings(validate_config(raw_config | {"preset": preset}))


def test_a_measured_speed_is_the_median_with_the_range_of_the_repetitions():
    speeds = MeasuredSpeeds([bench("a", none=(0.04, 0.03, 0.024))])
    found = speeds.find_speed("a", "none")
    assert (found.low, found.median, found.high) == pytest.approx((3e14, 4e14, 5e14)) and found.is_measured


def test_files_of_one_backbone_are_pooled():
    speeds = MeasuredSpeeds([bench("a", none=(0.04,)), bench("a", none=(0.02,), lora=(0.1,))])
    found = speeds.find_speed("a", "none")
    assert (found.low, found.median, found.high) == pytest.approx((3e14, 4.5e14, 6e14))


def test_another_backbone_is_estimated_from_those_measured():
    """Medians of 300 and 400: the middle, and a factor of 4/3 to either side, which holds both."""
    speeds = MeasuredSpeeds([bench("a", none=(0.04,)), bench("b", none=(0.03,))])
    found = speeds.find_speed("c", "none")
    assert (found.low, found.median, found.high) == pytest.approx((2.625e14, 3.5e14, 3.5e14 * 4 / 3))
    assert not found.is_measured


def test_from_one_backbone_or_from_other_variants_the_assumed_error_holds():
    one = MeasuredSpeeds([bench("a", none=(0.04,))]).find_speed("c", "none")
    assert (one.low, one.high) == pytest.approx((3e14 / ASSUMED_ERROR_FACTOR, 3e14 * ASSUMED_ERROR_FACTOR))
    several = MeasuredSpeeds([bench("a", none=(0.04,), kv=(0.039,))]).find_speed("a", "lora")
    assert several.high / several.median == pytest.approx(ASSUMED_ERROR_FACTOR) and not several.is_measured
    apart = MeasuredSpeeds([bench("a", none=(0.04,), kv=(0.4,))]).find_speed("a", "lora")
    assert apart.high / apart.median == pytest.approx(10)


@pytest.mark.parametrize(
    ("method", "image_cache", "variant"),
    [
        ("slq", "none", "none"),
        ("slq", "batch", "batch"),
        ("slq", "kv", "kv_disk"),
        ("base", "none", "none"),
        ("lora", "features", "lora"),
        ("full_ft", "none", "full_ft"),
    ],
)
def test_a_run_has_the_speed_of_the_variant_that_trains_as_it_does(method, image_cache, variant):
    assert bench_variant(find_method(method), image_cache) == variant


def test_hours_are_flops_over_the_measured_speed_on_a_device_without_a_peak(settings):
    """At 400 TFLOP/s for SLQ on every backbone, and of full fine-tuning as slow as it was measured on one."""
    paper = settings("paper") | {"peak_tflops": None}
    measured = [bench(name, none=(0.03,), lora=(0.03,)) for name in PAPER] + [bench(PAPER[2], full_ft=(0.06, 0.05))]
    runs = {(run.backbone, run.method): run for run in forecast_preset(apply_measurements(paper, measured))[0]}
    slq, full = runs[PAPER[0], "slq"], runs[PAPER[2], "full_ft"]
    assert (slq.train_hours.low, slq.train_hours.high) == pytest.approx((slq.flops / 4e14 / 3600,) * 2)
    hours = (full.flops / 2.4e14 / 3600, full.flops / 2e14 / 3600)
    assert (full.train_hours.low, full.train_hours.high) == pytest.approx(hours)
    assert runs[PAPER[0], "base"].evaluation_hours.low > 0


def test_the_table_states_device_speeds_and_errors(settings):
    """One backbone measured; the others are marked as estimates."""
    measured = apply_measurements(settings("paper"), [bench(PAPER[0], none=(0.03, 0.031))])
    text = format_forecast(measured, *forecast_preset(measured))
    assert "TFLOP/s of NVIDIA H200 in bfloat16 as slq bench measured" in text and "TFLOP/s times" not in text
    assert "InternVL3-1B: full_ft 394 ±42%*, lora 394 ±42%*, slq 394 ±2%\n" in text and text.count("%*") == 11
    assert "hours of NVIDIA H200." in text and max(map(len, text.splitlines())) <= 100


def test_stored_files_forecast_the_mini_preset(settings, capsys):
    """Each backbone's speeds, estimated from the other's file alone, are within the error that is stated."""
    assert len(STORED) == 2 and main(["forecast", "--preset", "mini", "--bench", *map(str, STORED)]) == 0
    printed = capsys.readouterr().out
    assert " in float32 as slq bench measured" in printed and "%*" not in printed
    mini = settings("mini")
    both = apply_bench(mini, STORED)["measured_speeds"]
    for path in STORED:
        alone = apply_bench(mini, [path])["measured_speeds"]
        for variant in ("full_ft", "lora", "kv_disk"):
            for backbone in ("mini-internvl", "mini-qwen3vl"):
                estimate, truth = (speeds.find_speed(backbone, variant) for speeds in (alone, both))
                assert estimate.low <= truth.median <= estimate.high


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema 2, not 3"),
        ({"backbone": "InternVL3-1B"}, "a bench of InternVL3-1B in float32; expected mini-internvl, mini-qwen3vl in"),
        ({"dtype": "bfloat16"}, "in bfloat16; expected mini-internvl, mini-qwen3vl in float32, as preset mini trains"),
        ({"rows": [{"variant": "none"}]}, "key 'all_seconds' is missing; run `slq bench --json` again"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(settings, tmp_path, changes, message):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(json.loads(STORED[0].read_text()) | changes))
    with pytest.raises(SlqError) as refused:
        apply_bench(settings("mini"), [path])
    assert str(path) in str(refused.value) and message in str(refused.value)


def test_files_of_two_devices_are_refused(settings):
    with pytest.raises(
        SlqError, match="expected files of one device, found NVIDIA A, NVIDIA B; forecast each separately"
    ):
        apply_measurements(settings("paper"), [bench("a", name, none=(1,)) for name in ("NVIDIA B", "NVIDIA A")])
