"""`slq doctor`: whether a run can start on a cluster."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

import checkout as copies
from slq.cli import main
from slq.common.errors import SlqError
from slq.config.cost_settings import forecast_settings
from slq.cost.forecast import forecast_preset
from slq.preflight import checks, preflight
from slq.preflight.checks import UNLIMITED, parse_gpus, parse_minutes, parse_sinfo_line, read_cluster
from slq.preflight.planned_jobs import plan_workflow
from slq.preflight.preflight import _forecast_cost, sum_costs
from slq.sources.listing import DiskSpace, list_fetched_sources

STAND_INS = Path(__file__).parents[2] / "slurm" / "answers"
PAPER = ["--cores", "all", "--profile", "slurm", "--config", "preset=paper"]
GOOD = {
    "sinfo": "gpu*|up|2-00:00:00|4|gpu:h100:8(S:0-1)\ncpu|up|infinite|20|(null)\n",
}


@pytest.fixture(scope="module")
def plan(pristine):
    """Plan of the paper preset, with nothing present."""
    with contextlib.chdir(pristine):
        return plan_workflow(PAPER)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Function that puts stand-ins for Slurm's commands on PATH: a good cluster, with the changes of a test."""

    def answering(**changes):
        for command, text in (GOOD | changes).items():
            (tmp_path / command).write_text(text)
        monkeypatch.setenv("PATH", os.pathsep.join([str(STAND_INS), os.environ["PATH"]]))
        monkeypatch.setenv("STAND_IN_ANSWERS", str(tmp_path))

    return answering


@pytest.fixture
def found_on(cluster):
    """Function that returns the findings by subject, given Slurm's answers."""

    def found_on(plan, memory_gb=72, **answers):
        cluster(**answers)
        return marks(checks.check_slurm(plan, memory_gb))

    return found_on


def on_partition(plan, partition, model=""):
    """The plan with --default-resources slurm_partition=… gpu_model=…"""
    return dataclasses.replace(
        plan, jobs=tuple(dataclasses.replace(job, partition=partition, gpu_model=model) for job in plan.jobs)
    )


def marks(findings):
    """Findings by subject: the mark, and all printed text on one line."""
    return {
        found.subject: (found.severity, " ".join(" ".join(preflight.format_finding(found)).split()))
        for found in findings
    }


def test_the_plan_is_snakemakes_own(plan, pristine):
    """Each rule has the jobs of a dry run, and the requests that sbatch gets (tests/workflow/test_slurm.py)."""
    counted = Counter(job.rule for job in plan.jobs)
    assert counted == Counter(copies.planned(pristine, *PAPER)) - Counter(["all"])
    assert {job.rule for job in plan.jobs if job.local} >= {"fetch_source", "render_tables"}
    local = {"fetch_source", "render_tables", "draw_figures", "count_gpu_hours"}
    assert not {job.rule for job in plan.submitted} & local
    assert all(job.minutes > 0 for job in plan.submitted), "a site may refuse a job without a time limit"
    (job,) = (
        job for job in plan.jobs if (job.backbone, job.method) == ("InternVL3-8B", "full_ft") and job.rule == "train"
    )
    assert (job.gpus, job.cpus, job.minutes) == (4, 12, 1440)
    assert job.minutes_again == 2880
    assert job.partition == ""


def test_site_keys_of_a_second_profile_and_of_the_command_line_reach_the_plan(pristine, tmp_path):
    """So do a rule's own partition, and the configuration file that the profile adds."""
    (tmp_path / "site.yaml").write_text("scratch: elsewhere")
    site = {
        "configfile": "site.yaml",
        "default-resources": {"slurm_partition": "small"},
        "set-resources": {"pretrain_backbone": {"slurm_partition": "big"}},
    }
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(site))
    with contextlib.chdir(pristine):
        options = ["--profile", "slurm", "--profile", str(tmp_path)]
        found = plan_workflow(["--cores", "1", *options, "--config", "preset=mini"])
    assert (found.config["preset"], found.config["scratch"]) == ("mini", "elsewhere")
    assert {job.rule: job.partition for job in found.submitted}["pretrain_backbone"] == "big"
    assert {job.partition for job in found.submitted if job.rule != "pretrain_backbone"} == {"small"}


def test_what_snakemake_cannot_plan_is_its_own_message(pristine):
    with contextlib.chdir(pristine), pytest.raises(SlqError, match="nowhere"):
        plan_workflow(["--cores", "1", "--profile", "nowhere"])


def test_a_good_cluster_is_well_in_every_line(found_on, plan):
    found = found_on(plan, 71.6)
    assert {mark for mark, _ in found.values()} == {"ok"}
    assert "gpu, the default partition" in found["partition"][1]
    assert "32 x h100; jobs request up to 4 in a node, and use up to 72 GB of each" in found["GPUs"][1]
    assert "at most 48.0 h; jobs request up to 24.0 h" in found["time"][1]


def test_a_partition_with_too_short_a_limit(found_on, plan):
    found = found_on(plan, sinfo=GOOD["sinfo"].replace("2-00:00:00", "12:00:00"))
    assert found["time"][0] == "!!"
    assert "at most 12.0 h; jobs request up to 24.0 h" in found["time"][1] and "`hours: 12`" in found["time"][1]


def test_a_limit_that_holds_the_first_attempt_and_not_the_second(found_on, plan):
    """Slurm refuses the second attempt, or keeps it waiting for ever."""
    mark, text = found_on(plan, sinfo=GOOD["sinfo"].replace("2-00:00:00", "1-00:00:00"))["time"]
    assert mark == "--" and "a second attempt requests 48.0 h" in text and "--retries 0" in text


@pytest.mark.parametrize(
    "partition, model, said",
    [
        ("small", "", "6 x a100; 1 of 68 jobs fit no node: train InternVL3-8B full_ft requests 4 in one"),
        ("cpu", "", "none; 68 of 68 jobs fit no node"),
        ("gpu", "a100", "32 x h100; 68 of 68 jobs fit no node"),
    ],
)
def test_too_few_gpus_or_of_another_type(found_on, plan, partition, model, said):
    sinfo = GOOD["sinfo"] + "small|up|infinite|3|gpu:a100:2\n"
    mark, text = found_on(on_partition(plan, partition, model), sinfo=sinfo)["GPUs"]
    assert mark == "!!" and said in text


def test_two_types_of_gpu_are_pointed_out_until_one_is_chosen(found_on, plan):
    sinfo = GOOD["sinfo"] + "gpu*|up|2-00:00:00|2|gpu:a100:8\n"
    mark, text = found_on(plan, sinfo=sinfo)["GPUs"]
    assert mark == "--" and "32 x h100, 16 x a100" in text
    assert found_on(on_partition(plan, "gpu", "a100"), sinfo=sinfo)["GPUs"][0] == "ok"


def test_a_partition_that_is_not_there_closed_or_not_chosen(found_on, plan):
    for sinfo, partition, said in (
        (GOOD["sinfo"], "gpus", "gpus: no such partition; available: gpu, cpu"),
        (GOOD["sinfo"].replace("gpu*|up", "gpu*|down"), "", "gpu: accepts no jobs now"),
        (GOOD["sinfo"].replace("*", ""), "", "none given, and none of gpu, cpu is default"),
    ):
        mark, text = found_on(on_partition(plan, partition), sinfo=sinfo)["partition"]
        assert mark == "!!" and said in text


def test_a_controller_that_does_not_answer_is_one_line(cluster, tmp_path):
    cluster()
    (tmp_path / "sinfo").unlink()
    with pytest.raises(SlqError, match=r"sinfo failed: .*No such file"):
        read_cluster()


def test_slurms_words_are_read():
    assert parse_gpus("gpu:h100:4(S:0,1),gpu:2,shard:8") == {"h100": 4, "": 2}
    assert parse_gpus("(null)") == {}
    limits = {"1-12:00:00": 2160, "2:00:00": 120, "30:00": 30, "infinite": UNLIMITED, "n/a": UNLIMITED}
    assert {limit: parse_minutes(limit) for limit in limits} == limits
    gpu, cpu = map(parse_sinfo_line, GOOD["sinfo"].splitlines())
    assert (gpu.partition, gpu.is_default, gpu.is_up, gpu.num_nodes) == ("gpu", True, True, 4)
    assert (gpu.gpus_by_model, gpu.time_limit_minutes, cpu.is_default, cpu.gpus_by_model) == (
        {"h100": 8},
        2880,
        False,
        {},
    )


def test_what_a_proof_asks_of_base_is_counted_where_no_row_shows_base(pristine, tmp_path):
    (tmp_path / "mine.yaml").write_text("presets: {paper: {methods: [slq]}}")
    with contextlib.chdir(pristine):
        found = plan_workflow([*PAPER, "--configfile", str(tmp_path / "mine.yaml")])
    assert {job.method for job in found.submitted if job.rule == "evaluate_retention"} == {"base"}
    assert _forecast_cost(found.config, found).gpu_hours.high > 0


def test_costs_are_the_forecasts_of_what_is_due(plan, raw_config):
    """For all runs, they are the forecast's own sums; without one training, they are less by its cost."""
    cells, _ = forecast_preset(forecast_settings(raw_config | {"preset": "paper"}))
    whole = sum_costs(cells, plan.submitted)
    ends = [cell.train_hours.high for cell in cells if cell.train_hours] + [
        cell.evaluation_hours.high for cell in cells
    ]
    assert whole.gpu_hours.high == pytest.approx(sum(ends))
    assert whole.largest_training_gb == max(cell.disk_gb for cell in cells)
    rest = [
        job for job in plan.submitted if (job.rule, job.backbone, job.method) != ("train", "InternVL3-8B", "full_ft")
    ]
    (done,) = (cell for cell in cells if (cell.backbone, cell.method) == ("InternVL3-8B", "full_ft"))
    assert whole.gpu_hours.high - sum_costs(cells, rest).gpu_hours.high == pytest.approx(done.train_hours.high)
    assert whole.all_trainings_gb - sum_costs(cells, rest).all_trainings_gb == pytest.approx(done.disk_gb)
    assert sum_costs(cells, []).gpu_hours.high == 0


@pytest.mark.parametrize("free, mark", [(200e9, "!!"), (300e9, "!!"), (400e9, "--"), (700e9, "ok")])
def test_room_for_sources_and_trainings(free, mark, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=int(free))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    found = checks.check_disk(
        tmp_path / "not" / "made", sources=DiskSpace(57.5, 13.5), largest_training_gb=283, all_trainings_gb=534
    )
    assert found.severity == mark and f"{free / 1e9:.0f} GB free" in found.message


def test_what_cannot_be_written_is_named(tmp_path, monkeypatch):
    """The message names the existing folder that would contain it."""
    (tmp_path / "results").mkdir()
    folders = [tmp_path / "results", tmp_path / "scratch" / "deep"]
    assert checks.check_writable(folders).severity == "ok"
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    found = checks.check_writable(folders)
    assert (found.severity, found.message) == ("!!", f"{tmp_path}: cannot be written")


def test_what_is_fetched_and_what_a_person_brings(raw_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def told(preset, offline):
        missing = checks.missing_sources(raw_config, preset)
        found = checks.check_local_data(raw_config, preset, missing)
        return marks([*found, checks.check_sources(raw_config, preset, missing, offline)])

    missing = checks.missing_sources(raw_config, "paper")
    gb = sum(
        part["gb"]
        for _, name in list_fetched_sources(raw_config, "paper")
        for part in raw_config["sources"][name]["parts"]
    )
    space = checks.sources_disk_space(raw_config, missing)
    assert (len(missing), space.files, space.unpacking) == (12, pytest.approx(gb), 13.5)
    found = told("paper", offline=False)
    assert (
        found["data"][0] == "!!" and "data/flickr30k: no such folder ask for the Flickr30K images" in found["data"][1]
    )
    assert found["sources"][0] == "--" and "--cores all fetch --config preset=paper" in found["sources"][1]
    assert f"missing, {space}: InternVL3-1B, " in found["sources"][1]
    assert told("paper", offline=True)["sources"][0] == "!!"
    own = checks.check_sources(raw_config, "paper", missing, False, ["config.yaml", "my own.yaml"]).advice
    assert "fetch --config preset=paper --configfile config.yaml 'my own.yaml'." in own
    assert own.endswith("slq sources --preset paper --config config.yaml --config 'my own.yaml'")
    copies.place(
        tmp_path, *(f"scratch/{place}/manifest.json" for place, _ in list_fetched_sources(raw_config, "paper"))
    )
    found = told("paper", offline=True)
    assert {subject: mark for subject, (mark, _) in found.items()} == {"sources": "ok"}
    assert told("mini", offline=True)["sources"][0] == "ok"


def test_the_page_of_the_paper_preset(cluster, plan, pristine, monkeypatch, capsys):
    """With nothing fetched, the exit status is 1, and the page has at most 100 columns, with hours and disk."""
    cluster()
    monkeypatch.chdir(pristine)
    monkeypatch.setattr(preflight, "plan_workflow", lambda options: plan)
    assert main(["doctor", "--preset", "paper"]) == 1
    said = capsys.readouterr()
    assert max(map(len, said.out.splitlines())) <= 100
    assert "[!!] data" in said.out and "the lines marked [!!]" in said.err
    page = " ".join(said.out.split())
    assert "GPU hours of NVIDIA H100 80GB HBM3: " in page and "the forecast omits 19 jobs of baselines" in page
    assert said.out.splitlines()[-1] == "snakemake --cores all --profile slurm --config preset=paper"


def test_on_a_cluster_without_gpus_a_preset_that_asks_for_none_can_start(cluster, checkout):
    """The whole command runs in its own process, which imports no torch."""
    cluster(sinfo="batch*|up|infinite|4|(null)\n")
    none = {stage: {"gpus": 0} for stage in ("train", "evaluate")}
    (checkout / "cpu.yaml").write_text(yaml.safe_dump({"presets": {"mini": {"resources": none}}}))
    script = "import sys; from slq.cli import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script, "doctor", "--config", "config.yaml", "--config", "cpu.yaml", "--preset", "mini"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "[ok] partition   batch" in answer.stdout and "] GPUs" not in answer.stdout
    assert "no GPU hours; first attempts reserve 53 core hours" in answer.stdout
    typed = answer.stdout.splitlines()[-1]
    assert typed == "snakemake --cores all --profile slurm --config preset=mini --configfile config.yaml cpu.yaml"


def test_a_machine_without_slurm_is_told_and_the_rest_is_printed(plan, pristine, monkeypatch, capsys):
    monkeypatch.chdir(pristine)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setattr(preflight, "plan_workflow", lambda options: plan)
    assert main(["doctor", "--preset", "paper"]) == 1
    page = capsys.readouterr().out
    assert "[!!] Slurm" in page and "snakemake --cores all" in page
    assert "[!!] data" in page and page.endswith("preset=paper\n")


def test_a_preset_that_is_not_there_is_one_message(pristine, monkeypatch, capsys):
    monkeypatch.chdir(pristine)
    assert main(["doctor", "--preset", "papers"]) == 1
    assert "--preset papers: no such preset; expected one of mini, mini-evidence, paper" in capsys.readouterr().err
