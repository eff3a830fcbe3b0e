"""The forecast: known answers, and the paper preset's table without weights or torch."""

import subprocess
import sys

import pytest

from asjob import parameter_file
from checkout import processor_seconds, snakemake
from slq.common.errors import SlqError
from slq.config import cost_settings
from slq.config.loading import validate_config
from slq.cost.forecast import Range, forecast_preset, job_resources, wall_hours
from slq.cost.forecast_table import format_forecast


@pytest.fixture
def paper(raw_config) -> dict:
    return cost_settings.forecast_settings(validate_config(raw_config | {"preset": "paper"}))


@pytest.fixture
def plain(paper) -> dict:
    """The paper preset's settings with every batch in one pass and no layer recomputed."""
    for backbone in paper["backbones"]:
        for training in backbone["training"].values():
            training |= {"grad_cache": False, "gradient_checkpointing": False}
    return paper


def cells_of(asked: dict) -> dict:
    return {(cell.backbone, cell.method): cell for cell in forecast_preset(asked)[0]}


def test_the_papers_flops_and_stores(plain):
    """FLOPs, in EFLOP, agree with a count by hand on slightly different assumptions; caches have their known sizes."""
    cells = cells_of(plain)
    by_hand = {  # of 1B, 2B, 4B, 8B
        "slq": (2.5, 6.0, 11.3, 15.3),
        "lora": (2.9, 8.0, 16.4, 22.9),
        "full_ft": (3.5, 10.7, 23.2, 33.5),
    }
    names = ("InternVL3-1B", "Qwen3-VL-2B", "Qwen3-VL-4B", "InternVL3-8B")
    for method, values in by_hand.items():
        for name, value in zip(names, values, strict=True):
            cell = cells[name, method]
            assert cell.flops / 1e18 == pytest.approx(value, rel=0.15)
    stores = {store.label: store for store in forecast_preset(plain)[1]}
    assert [round(stores[name].features_gb) for name in ("InternVL3-1B", "InternVL3-8B")] == [52, 208]
    assert stores["Qwen3VL-4B"].kv_gb == pytest.approx(5200, rel=0.02)


def test_hours_are_flops_over_peak_and_share(paper):
    paper |= {"peak_tflops": 100, "mfu": [0.1, 0.5]}
    cell = cells_of(paper)["InternVL3-1B", "slq"]
    assert (cell.train_hours.low, cell.train_hours.high) == pytest.approx(
        (cell.flops / 50e12 / 3600, cell.flops / 10e12 / 3600)
    )
    unknown = cells_of(paper | {"peak_tflops": None})["InternVL3-1B", "slq"]
    assert unknown.train_hours is None and "Hours are not known" in format_forecast(
        paper, *forecast_preset(paper | {"peak_tflops": None})
    )


def test_options_do_less_for_what_is_stored_and_more_for_what_is_released(plain):
    for (_, method), cell in cells_of(plain).items():
        if method == "slq":
            assert cell.relative_flops["kv"] < cell.relative_flops["batch"] < 1 < cell.relative_flops["released"]
        elif method != "base":
            assert (
                set(cell.relative_flops) == {"no_memory_saving", "features"}
                and cell.relative_flops["features"] < 1 == cell.relative_flops["no_memory_saving"]
            )


def test_to_save_memory_costs_flops(paper):
    for (_, method), cell in cells_of(paper).items():
        if method != "base":
            assert cell.relative_flops["no_memory_saving"] < 1 and cell.device_gb[0] < cell.device_gb[1]


def test_memory_is_that_of_weights_moments_and_what_waits_for_its_gradient(paper):
    """8B by hand, in bfloat16: 7.6 billion weights of the language model, 0.3 of the tower and 0.5 of the head."""
    cells = cells_of(paper)
    full, lora = cells["InternVL3-8B", "full_ft"], cells["InternVL3-8B", "lora"]
    assert full.gpus == 4 and full.device_gb[0] == pytest.approx(7.07 * 16 / 4 + 0.85 * 2 + 7, rel=0.1)
    assert lora.device_gb[0] == pytest.approx(16 + 7, rel=0.1)
    assert full.device_gb[1] > 300 and lora.device_gb[1] > 900
    assert full.disk_gb == pytest.approx(7.07 * 4 + 3 * 7.07 * 12, rel=0.02)
    assert full.host_gb == pytest.approx(4 * (4 + 4 + 16) + 17 * 512 * 3 * 448**2 * 4 / 1e9 + 7.07 * 12, rel=0.05)
    slq = cells["Qwen3-VL-4B", "slq"]
    assert slq.device_gb[0] > 8.8 + 2 * 36 * 8 * 128 * 2 * 1024 * 300 / 1e9, "all keys and values of a batch"


def test_a_job_asks_for_half_as_much_again_as_the_high_end_and_a_quarter_of_an_hour(paper):
    cell = cells_of(paper)["InternVL3-8B", "full_ft"]
    train, evaluate = (job_resources(paper, "InternVL3-8B", "full_ft", stage) for stage in ("train", "evaluate"))
    assert (train.hours, train.mem_gb) == (pytest.approx(0.25 + 1.5 * cell.train_hours.high / 4), cell.host_gb)
    assert (evaluate.hours, evaluate.mem_gb) == (
        pytest.approx(0.25 + 1.5 * cell.evaluation_hours.high),
        cell.evaluation_host_gb,
    )
    assert cell.evaluation_host_gb == pytest.approx(4 + 8 + 15.9, rel=0.01)
    assert job_resources(paper | {"peak_tflops": None}, "InternVL3-8B", "full_ft", "train") is None


def test_wall_time_is_that_of_the_fullest_device():
    assert wall_hours([3, 3, 2, 2, 2], 2) == 7  # three and three, two and two, and the last two
    assert wall_hours([5, 1, 1], 3) == 5
    assert wall_hours([1, 1, 1, 1, 4], 2) == 4  # longest first; started last, it would end after six
    assert wall_hours([], 4) == 0
    assert Range(1, 2) + Range(3, 4).scale(2) == Range(7, 10)


def test_a_size_that_is_missing_is_named(raw_config):
    raw = raw_config | {"preset": "paper"}
    size = raw["datasets"]["flickr30k"].pop("size")
    with pytest.raises(SlqError, match=r"config: datasets\.flickr30k\.size is missing"):
        forecast_preset(cost_settings.forecast_settings(validate_config(raw)))
    raw["datasets"]["flickr30k"]["size"] = size
    del raw["backbones"]["Qwen3-VL-2B"]["architecture"]
    with pytest.raises(SlqError, match=r"config: backbones\.Qwen3-VL-2B\.architecture is missing"):
        forecast_preset(cost_settings.forecast_settings(validate_config(raw)))


def test_the_papers_forecast_is_printed_without_anything_there(checkout):
    before = processor_seconds()
    answer = snakemake(checkout, "--cores", "1", "forecast", "--config", "preset=paper")
    assert answer.returncode == 0, answer.stdout
    assert processor_seconds() - before < 60
    lines = answer.stdout.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("Backbone "))
    last = next(number for number, line in enumerate(lines) if line.startswith("Speed: "))
    assert max(map(len, lines[first - 1 : last + 1])) <= 100
    assert sum("SLQ" in line for line in lines[first:last]) == 4
    assert any("Wall time on 8 at once" in line for line in lines)
    assert sum(line.startswith(("InternVL3-", "Qwen3VL-")) for line in lines[first:]) == 16 + 4
    assert not (checkout / "results/paper").exists()


def test_a_long_label_leaves_the_columns_beside_it(paper):
    paper["backbones"][0]["label"] = label = "[EOS] InternVL3, the smallest"
    lines = format_forecast(paper, *forecast_preset(paper)).splitlines()
    method = lines[1].index("Method")
    assert {line[method:].split()[0] for line in lines if line.startswith(label)} == {
        "Base",
        "Full",
        "LoRA",
        "SLQ",
        "52.0",
    }
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("Image caches:")) :][1:5]
    assert len({line.index(" GB") for line in table}) == 1


def test_no_torch_is_needed(paper, tmp_path):
    code = (
        "import sys; from slq.jobs import main; main(sys.argv[1:]);"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    command = ["forecast", str(parameter_file(tmp_path, "forecast", settings=paper))]
    assert subprocess.run([sys.executable, "-c", code, *command], capture_output=True).returncode == 0
