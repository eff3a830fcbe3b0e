"""Tests of Snakemake's plans: the paper's grid, and only rendering if results exist."""

import itertools
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from checkout import for_this_machine, listed_jobs, place, planned, processor_seconds, snakemake
from slq.baselines.registry import find_baselines
from slq.common.files import write_json
from slq.config import job_settings
from slq.config.loading import active_preset, validate_config
from slq.config.plan_settings import plan_hash
from slq.config.runs import list_run_seeds
from slq.evaluation.reply import Reply, build_answered_items
from slq.methods.registry import find_method
from stored import CPU, Runs, write_answers, write_ranks

PAGE = {"judge_claims": 1, "check_base_scores": 1, "paper_audit": 1, "compare_paper": 1, "write_page": 1}
PAPER = {
    "fetch_source": 12,
    "prepare_split": 7,
    "audit": 1,
    "check_reference_recalls": 1,
    "register_base": 4,
    "train": 12,
    "evaluate_retrieval": 16,
    "evaluate_retention": 12,
    "check_equivalence": 4,
    "evaluate_blind": 4,
    "evaluate_baseline": 19,
    "count_gpu_hours": 1,
    "render_tables": 1,
    "compile_pdf": 1,
    "draw_figures": 1,
    "draw_queries": 1,
    **PAGE,
    "all": 1,
}
MINI = {
    "make_synthetic_split": 8,
    "cache_features": 2,
    "pretrain_backbone": 2,
    "pretrain_encoder": 2,
    "audit": 1,
    "register_base": 2,
    "train": 6,
    "evaluate_retrieval": 8,
    "evaluate_retention": 6,
    "check_equivalence": 2,
    "evaluate_blind": 2,
    "evaluate_baseline": 12,
    "count_gpu_hours": 1,
    "render_tables": 1,
    "compile_pdf": 1,
    "draw_figures": 1,
    "draw_queries": 1,
    **PAGE,
    "all": 1,
}
# One backbone, two trained methods and no baselines, with three seeds.
DECISIVE = {rule: count for rule, count in PAPER.items() if rule != "evaluate_baseline"} | {
    "fetch_source": 7,
    "register_base": 1,
    "train": 6,
    "evaluate_retrieval": 7,
    "evaluate_retention": 4,
    "check_equivalence": 3,
    "evaluate_blind": 1,
}
ONE_SEED = {"train": 2, "evaluate_retrieval": 3, "evaluate_retention": 2, "check_equivalence": 1}
THREE_SEEDS = {"train": 36, "evaluate_retrieval": 40, "evaluate_retention": 28, "check_equivalence": 12}
RENDERING = {"count_gpu_hours": 1, "render_tables": 1, "compile_pdf": 1, "draw_figures": 1}
SHOW = ("tables", "figures")


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [
        (["--cores", "2"], MINI),
        (["--cores", "2", "--config", "preset=paper"], PAPER),
        (["--cores", "all", "--profile", "slurm"], PAPER),
        (["--cores", "all", "--profile", "slurm", "--config", "seed=2"], PAPER),
        (["--cores", "all", "--profile", "slurm", "--config", "preset=mini"], MINI),
        # One run of base, whatever the number of seeds.
        (
            ["--cores", "2", "--config", "seeds=[1,2]"],
            MINI | {"train": 12, "evaluate_retrieval": 14, "evaluate_retention": 10, "check_equivalence": 4},
        ),
        (["--cores", "all", "--profile", "slurm", "--config", "seeds=[0,4,2]"], PAPER | THREE_SEEDS),
        (["--cores", "2", "--config", "preset=paper-decisive"], DECISIVE),
        (["--cores", "2", "--config", "preset=paper-decisive", "seeds=[7]"], DECISIVE | ONE_SEED),
    ],
    ids=[
        "mini",
        "paper",
        "profile",
        "profile, another seed",
        "profile, mini",
        "two seeds",
        "profile, three seeds",
        "a preset's own seeds",
        "a preset's own seeds, overridden",
    ],
)
def test_the_whole_grid_is_planned(pristine, arguments, plan):
    before = processor_seconds()
    assert planned(pristine, *arguments) == for_this_machine(plan)
    assert processor_seconds() - before < 20


def test_a_preset_without_retention_sets_plans_none(pristine, tmp_path):
    (tmp_path / "mine.yaml").write_text("presets: {mini: {retention_datasets: []}}")
    plan = planned(pristine, "--cores", "2", "--configfile", str(tmp_path / "mine.yaml"))
    assert plan == for_this_machine(
        {
            rule: count
            for rule, count in MINI.items()
            if rule not in ("evaluate_retention", "check_equivalence", "evaluate_blind")
        }
        | {"make_synthetic_split": 5}
    )


def test_fetching_asks_for_data_and_backbones_only(pristine):
    plan = planned(pristine, "--cores", "2", "fetch", "--config", "preset=paper")
    assert plan == {"fetch_source": 12, "prepare_split": 7, "fetch": 1}
    (fetch,) = (job for job in listed_jobs(pristine, "mini", "fetch") if job["rule"] == "fetch")
    assert "scratch/data/mini-karr/test/manifest.json" in fetch["input"], "what only a knowledge dataset needs"


def test_one_method_less_is_one_run_less_per_backbone(pristine, tmp_path):
    (tmp_path / "mine.yaml").write_text("presets: {mini: {methods: [base, lora, slq]}}")
    plan = planned(pristine, "--cores", "2", "--configfile", str(tmp_path / "mine.yaml"))
    assert plan == for_this_machine(MINI | {"train": 4, "evaluate_retrieval": 6, "evaluate_retention": 4})


def test_a_proof_needs_base_even_where_no_row_shows_it(pristine, tmp_path):
    (tmp_path / "mine.yaml").write_text("presets: {mini: {methods: [slq]}}")
    plan = planned(pristine, "--cores", "2", "--configfile", str(tmp_path / "mine.yaml"))
    shown = {"train": 2, "evaluate_retrieval": 2, "evaluate_retention": 2, "check_equivalence": 2, "register_base": 2}
    assert plan == for_this_machine({rule: count for rule, count in MINI.items() if rule != "evaluate_blind"} | shown)


def ingredients(jobs, rule):
    """Collect every file that the jobs of a rule depend on, directly or indirectly."""
    maker = {file: job for job in jobs for file in job["output"]}
    found, waiting = set(), [file for job in jobs if job["rule"] == rule for file in job["input"]]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += maker[file]["input"] if file in maker else []
    return found


@pytest.mark.parametrize(("preset", "runs"), [("mini", 6 * 7), ("paper", 12 * 7)])
def test_nothing_that_learns_or_selects_comes_from_a_test_split_or_from_results(pristine, raw_config, preset, runs):
    """This holds in Snakemake's graph; the dependencies of a training include those of its backbone's pre-training.

    A run has six trials of the learning-rate search.
    """
    backbone = {"mini": "mini-internvl", "paper": "InternVL3-1B"}[preset]
    interpolated = f"results/{preset}/{backbone}/full_ft/mix0.5/seed1/run.json"
    jobs = listed_jobs(pristine, preset, "all", "lr_sweep", interpolated)

    def splits(rule):
        return {Path(file).parent.name for file in ingredients(jobs, rule) if file.startswith("scratch/data/")}

    def results(rule):
        return {Path(file).parent.name for file in ingredients(jobs, rule) if file.startswith("results/")}

    assert sum(job["rule"] == "train" for job in jobs) == runs
    for rule in ("train", "interpolate"):
        assert splits(rule) == {"train", "val"} and results(rule) == set()
    assert sum(job["rule"] == "choose_learning_rate" for job in jobs) == runs / 7
    assert splits("choose_learning_rate") == {"train", "val"} and results("choose_learning_rate") == {"seed1"}
    assert splits("register_base") <= {"train"} and results("register_base") == set()
    # The same search finds test splits and results where they belong.
    assert splits("evaluate_retrieval") == {"train", "val", "test"}
    assert results("render_tables") == {
        "seed0",
        "seed1",
        "retrieval",
        "retention",
        "blind",
        "events",
        preset,  # its audit
        *(row.name for row in job_settings.list_baselines(validate_config(raw_config | {"preset": preset}))),
        *({"slq"} if preset == "mini" else ()),  # the measured cost of the prefix cache
    }


@pytest.mark.parametrize(
    "file", ["base/seed1/retrieval/mini-coco.json", "slq/seed0/retention/mini-realworldqa.json", "slq/seed12/run.json"]
)
def test_a_run_that_the_seeds_do_not_name_cannot_be_made(pristine, file):
    answer = snakemake(pristine, "-n", "--cores", "1", f"results/mini/mini-internvl/{file}")
    assert answer.returncode == 1
    assert re.search(r"^Missing(Rule|Input)Exception", answer.stdout, re.MULTILINE), answer.stdout


def test_rates_are_selected_with_the_first_seed(pristine):
    answer = snakemake(pristine, "-n", "--cores", "1", "lr_sweep", "--config", "seeds=[3,1]")
    selected = set(re.findall(r"^Training (\S+)/lr\S+ on (\S+), seed (\d+)$", answer.stdout, re.MULTILINE))
    names = ("InternVL-mini", "Qwen3VL-mini")
    assert selected == {(method, name, "3") for method in ("full_ft", "lora", "slq") for name in names}


def test_an_interrupted_run_keeps_what_is_done(checkout):
    place(checkout, *(f"scratch/data/mini-coco/{split}/manifest.json" for split in ("train", "val", "test")))
    plan = planned(checkout, "--cores", "2")
    assert plan == for_this_machine(MINI | {"make_synthetic_split": 5})


# ---- tables from results alone ---------------------------------------------------------------------------------------


ASKED = {"question": "?", "options": [], "answers": ["red"], "type": "open"}
ANSWERED = build_answered_items([{"id": "q1", **ASKED}, {"id": "q2", **ASKED}], [Reply("?", "red", 2, True)] * 2)


def invent_results(folder: Path, raw_config, seeds=(1,)) -> None:
    """Write all files that runs of the mini preset leave in results/, without any run."""
    config = validate_config(raw_config)
    plan, kinds = job_settings.layout(config), {name: kind.name for name, (kind, _) in find_baselines(config).items()}
    grid = [(method, seed) for method in plan["methods"] for seed in list_run_seeds(method, seeds)]
    for backbone in plan["backbones"]:
        for method, seed in grid:
            runs = Runs(folder / "results", plan["preset"], seed)
            tuned = method != "base"
            runs.run(backbone["name"], method, 1025 if tuned else 0, CPU if tuned else None)
            run = f"results/mini/{backbone['name']}/{method}/seed{seed}"
            for entry in [*plan["retrieval_datasets"], *plan["knowledge_datasets"]]:
                write_ranks(folder / run / "retrieval" / f"{entry['name']}.json", [1, 2] * 5, [1, 2])
                place(folder, f"{run}/retrieval/{entry['name']}.top.jsonl")
            asked = ["retention"] if tuned else ["retention", "blind"]
            for entry, kind in itertools.product(plan["retention_datasets"], asked):
                if find_method(method).inherits_retention:
                    runs.inherited(backbone["name"], method, entry["name"])
                    continue
                scorer = active_preset(raw_config)["evaluation"]["scorers"][entry["scored_as"]]
                write_answers(folder / run / kind / f"{entry['name']}.json", entry["scored_as"], scorer, ANSWERED)
            place(
                folder, *(f"{run}/events/{stage}.jsonl" for stage in ("retrieval", "retention", "equivalence", "blind"))
            )
            if tuned:
                runs.events(backbone["name"], method, [2.0, 1.0], [50.0, 60.0])
    for row in plan["baselines"]:
        home = folder / "results" / plan["preset"] / "baselines" / row["name"]
        write_json(home / "baseline.json", {"schema": 2, "baseline": row["name"], "kind": kinds[row["name"]]})
        for entry in plan["retrieval_datasets"]:
            write_ranks(home / "retrieval" / f"{entry['name']}.json", [1, 2] * 5, [1, 2])
    tests = [
        f"{entry['name']}/test"
        for entry in [*plan["retrieval_datasets"], *plan["knowledge_datasets"], *plan["retention_datasets"]]
    ]
    write_json(folder / "results/mini/audit.json", {"schema": 4, "splits": {name: {"leaked": []} for name in tests}})


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def clone(checkout, raw_config, tmp_path):
    """A git clone of a repository with committed results."""
    invent_results(checkout, raw_config)
    git(checkout, "init", "--quiet")
    git(checkout, "add", "--all")
    git(checkout, "add", "--force", "results")
    git(checkout, "commit", "--quiet", "--message", "results")
    git(tmp_path, "clone", "--quiet", str(checkout), "clone")
    return tmp_path / "clone"


def touch_in_random_order(folder: Path, seed: int) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts]
    random.Random(seed).shuffle(files)
    for age, path in enumerate(files):
        os.utime(path, (1_700_000_000 + 60 * age,) * 2)


def test_a_clone_with_results_renders_and_trains_nothing(clone):
    for seed in range(3):
        touch_in_random_order(clone, seed)
        everything = {"tables": 1, "figures": 1, "all": 1, **PAGE}
        assert planned(clone, "--cores", "1", *SHOW, "all") == for_this_machine(RENDERING | everything)
    before = processor_seconds()
    answer = snakemake(clone, "--cores", "1", *SHOW)
    assert answer.returncode == 0, answer.stdout
    assert processor_seconds() - before < 40
    assert answer.stdout.strip().splitlines()[-1].startswith("Tables: paper_tables/mini")
    assert (clone / "paper_tables/mini/table3.tex").read_text().count("SLQ") >= 2
    assert (clone / "paper_tables/mini/figures/training.svg").exists()
    assert [path.name for path in (clone / "scratch").iterdir()] == ["params"], "nothing but what its jobs were given"
    assert planned(clone, "--cores", "1", *SHOW) == {}


def test_a_changed_plan_makes_no_result_again(clone, tmp_path):
    """Only the plan is due, and what is due anyway, although every result names the plan that it was made under."""
    (tmp_path / "mine.yaml").write_text("compare: {level: 0.01}")
    changed = ("--configfile", str(tmp_path / "mine.yaml"))
    answer = snakemake(clone, "--cores", "1", "plan", "tables")
    assert answer.returncode == 0, answer.stdout
    assert planned(clone, "--cores", "1", "plan", "tables") == {}
    assert planned(clone, "--cores", "1", "plan", "tables", *changed) == {"write_plan": 1, "plan": 1}
    assert planned(clone, "--cores", "1", "all", *changed) == planned(clone, "--cores", "1", "all")


def test_a_job_on_a_cluster_reads_the_snakefile_again_and_finds_the_same_plan(pristine, tmp_path, raw_config):
    """Another process gets the arguments that Snakemake passes on, and the environment of the submitting process."""
    shutil.copytree(pristine, tmp_path / "node", symlinks=True)
    call = ("--target-jobs", "write_plan:preset=mini", "--allowed-rules", "write_plan", "--config", "seeds=[2,1]")
    answer = snakemake(tmp_path / "node", "--cores", "1", "--mode", "subprocess", *call, SLQ_PLAN="of another call")
    assert answer.returncode == 0, answer.stdout
    plan = plan_hash(validate_config(raw_config | {"seeds": [2, 1]}))
    assert f"Plan `{plan}`" in (tmp_path / "node/paper_tables/mini/plan.md").read_text()


def test_a_dry_run_of_the_plan_has_its_hours_and_those_of_the_cheapest_decisive_experiment(pristine):
    answer = snakemake(pristine, "-n", "plan", "--config", "preset=paper")
    assert answer.returncode == 0, answer.stdout
    *_, runs, _, decisive = answer.stdout.strip().splitlines()
    assert re.fullmatch(r"All runs of 1 seed\(s\): [\d.]+-[\d.]+ hours of NVIDIA H100 80GB HBM3\.", runs)
    assert re.fullmatch(
        r"Cheapest decisive experiment, preset paper-decisive, 3 seed\(s\): [\d.]+-[\d.]+ hours\.", decisive
    )


def test_with_present_cells_a_missing_run_starts_no_other(clone):
    shutil.rmtree(clone / "results/mini/mini-qwen3vl/slq")
    for seed in range(3):
        touch_in_random_order(clone, seed)
        plan = planned(clone, "--cores", "1", *SHOW, "all", "--config", "cells=present")
        assert plan == for_this_machine(RENDERING | {"tables": 1, "figures": 1, "all": 1, **PAGE})
    assert planned(clone, "--cores", "1", *SHOW)["train"] >= 1
    answer = snakemake(clone, "--cores", "1", *SHOW, "--config", "cells=present")
    assert answer.returncode == 0, answer.stdout
    points = (clone / "paper_tables/mini/figures/figures.csv").read_text()
    assert "mini-internvl/slq/seed1" in points and "mini-qwen3vl/slq" not in points


SHOWN = {"tables", "figures", "claims", "report", "compare", "paper_audit"}
RENDERS = {
    "count_gpu_hours",
    "render_tables",
    "compile_pdf",
    "draw_figures",
    "judge_claims",
    "check_base_scores",
    "compare_paper",
    "write_page",
}


@pytest.mark.parametrize("age", ["newer", "older"])
def test_with_present_cells_nothing_is_made_again_whatever_is_in_scratch(clone, age):
    """With data, backbones and adapters newer or older than the results, only tables and figures are planned."""
    parts = ["data/mini-coco/test", "data/mini-flickr30k/test", "data/mini-mmmu/test", "data/mini-coco/train"]
    files = [f"scratch/{part}/manifest.json" for part in [*parts, "backbones/mini-internvl", "encoders/mini-clip"]]
    files += ["scratch/runs/mini/mini-internvl/base/seed0/adapter.json"]
    place(clone, *files)
    for name in files:
        os.utime(clone / name, (1_900_000_000 if age == "newer" else 1_500_000_000,) * 2)
    plan = planned(clone, "--cores", "1", *SHOWN, "--config", "cells=present")
    assert set(plan) <= RENDERS | SHOWN and {"render_tables", "judge_claims", "compare_paper"} <= set(plan)


@pytest.mark.parametrize("asked", ["results/mini/mini-qwen3vl/slq/seed1/run.json", "fetch", "lr_sweep", "frontier"])
def test_with_present_cells_what_only_a_run_could_make_is_refused(clone, asked):
    shutil.rmtree(clone / "results/mini/mini-qwen3vl/slq")
    answer = snakemake(clone, "--cores", "1", asked, "--config", "cells=present")
    assert answer.returncode == 1
    assert "config: cells is 'present', with which no job makes results" in answer.stdout
    assert asked in answer.stdout and not (clone / "scratch").exists()


def test_with_present_cells_a_ledger_loses_no_line(clone):
    """The ledger is used as it is if the events it was computed from are missing."""
    ledger, present = clone / "results/mini/gpu_hours.csv", ["--config", "cells=present"]
    ledger.write_text("source\nresults/mini/mini-internvl/slq/seed1/events/train.jsonl\n")
    os.utime(ledger, (1_500_000_000,) * 2)
    assert planned(clone, "--cores", "1", "tables", *present)["count_gpu_hours"] == 1
    (clone / "results/mini/mini-internvl/slq/seed1/events/train.jsonl").unlink()
    assert "count_gpu_hours" not in planned(clone, "--cores", "1", "tables", *present)


def test_a_seed_removed_or_added_only_renders_where_its_runs_exist(clone, raw_config):
    invent_results(clone, raw_config, seeds=(1, 2))
    two = ("--config", "seeds=[1,2]")
    answer = snakemake(clone, "--cores", "1", *SHOW, *two)
    assert answer.returncode == 0, answer.stdout
    cells, points = (clone / "paper_tables/mini" / name for name in ("cells.csv", "figures/figures.csv"))
    assert "slq/seed2/" in cells.read_text() and "slq/seed2/" in points.read_text()
    assert planned(clone, "--cores", "1", *two) == {"all": 1, **PAGE}
    assert planned(clone, "--cores", "1") == for_this_machine(RENDERING | {"all": 1, **PAGE})
    answer = snakemake(clone, "--cores", "1", *SHOW)
    assert answer.returncode == 0, answer.stdout
    assert "seed2/" not in cells.read_text() + points.read_text()
    assert planned(clone, "--cores", "1", *two) == for_this_machine(RENDERING | {"all": 1, **PAGE})


def test_a_call_says_where_tables_are_if_it_has_made_them(clone):
    said = []
    for targets in (["paper_tables/mini/table1.tex"], ["claims"]):
        answer = snakemake(clone, "--cores", "1", *targets)
        assert answer.returncode == 0, answer.stdout
        said.append(re.findall("^Tables: [^;\n]*", answer.stdout, re.MULTILINE))
    assert said == [["Tables: paper_tables/mini (*.tex, *.html)"], []]


def test_without_pdflatex_the_last_line_says_so(clone, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "env", "cat", "tee", "rm", "mkdir", "which"):
        (tools / name).symlink_to(shutil.which(name))
    answer = snakemake(clone, "--cores", "1", "tables", PATH=str(tools))
    assert answer.returncode == 0, answer.stdout
    assert "no tables.pdf was made, because pdflatex is not on PATH" in answer.stdout.strip().splitlines()[-1]


def test_a_failing_job_shows_its_error_and_its_exit_status(clone):
    (clone / "results/mini/mini-internvl/slq/seed1/run.json").write_text("{")
    answer = snakemake(clone, "--cores", "1", "tables")
    assert answer.returncode == 1
    assert "results/mini/mini-internvl/slq/seed1/run.json: not valid JSON" in answer.stdout
    assert "not valid JSON" in (clone / "logs/mini/render_tables.log").read_text()
    assert not (clone / "paper_tables/mini/table1.tex").exists()
