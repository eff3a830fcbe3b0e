"""Tests of real runs on the slice (tests/slice.yaml): outputs, reproducibility, and reruns after edits."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from checkout import (
    METRICS,
    ROOT,
    RUNS,
    SLICE,
    TABLES,
    contents,
    for_this_machine,
    planned,
    processor_seconds,
    snakemake,
)
from slq.config.loading import load_merged_config
from slq.config.plan_settings import plan_hash


@pytest.fixture
def edited(finished, tmp_path):
    """A copy of the finished slice, with file times and metadata."""
    return shutil.copytree(finished, tmp_path / "edited", symlinks=True)


def without_hours(table):
    """Remove the hours from a table's LaTeX, because they differ between any two runs."""
    return re.sub(rb"\d+\.\d+", b"", table)


TIMELESS = tuple(f"paper_tables/mini/figures/{name}.*" for name in ("retention", "training", "queries"))


def test_it_leaves_what_the_design_promises(finished):
    for method, seed in (("base", 0), ("slq", 1)):
        run = finished / RUNS / method / f"seed{seed}"
        record = json.loads((run / "run.json").read_text())
        assert (record["backbone"], record["method"], record["seed"], record["hidden_size"]) == (
            "mini-internvl",
            method,
            seed,
            128,
        )
        assert record["weights"]["before"] == record["weights"]["after"]
        for name in ("mini-coco", "mini-flickr30k"):
            metrics = json.loads((run / "retrieval" / f"{name}.json").read_text())
            assert metrics["n"] == {"images": 16, "captions": 80}
            assert set(metrics["metrics"]) == set(metrics["ci95"]) == {"t2i", "i2t", "i2t_strict"}
        found = {path.name.removeprefix("mini-realworldqa") for path in run.glob("retention/mini-realworldqa*")}
        assert found == ({".json"} if method == "slq" else {".json", ".answers.jsonl", ".disagreements.jsonl"})
    answers = (finished / RUNS / "base/seed0/retention/mini-realworldqa.answers.jsonl").read_text().splitlines()
    assert len(answers) == 16
    fields = {"id", "question", "options", "answers", "type", "prompt", "answer", "tokens", "ended"}
    assert set(json.loads(answers[0])) == fields
    proof = json.loads((run / "retention" / "mini-realworldqa.json").read_text())
    assert proof["inherits_from"] == "mini-internvl/base/seed0/retention/mini-realworldqa.json"
    assert (
        proof["equivalence_check"]["items"] == 16
        and proof["equivalence_check"]["weights"] == record["weights"]["after"]
    )
    assert {path.suffix for path in (finished / "scratch/work/answers").iterdir()} == {".owner"}, "empty files of locks"
    assert record["parameters"]["trainable"] == 2 * 128
    assert {"init", "staging", "train", "eval", "save", "feature_cache"} == set(record["spans"])


def test_every_result_names_the_plan_that_it_was_made_under(finished):
    plan = plan_hash(load_merged_config([finished / "config.yaml", finished / "tests/slice.yaml"]))
    kinds = ("run.json", "retrieval/*.json", "retention/*.json", "blind/*.json")
    files = [path for kind in kinds for path in (finished / "results/mini").rglob(kind)]
    assert {path.parent.name for path in files} == {"seed0", "seed1", "retrieval", "retention", "blind"}
    assert {json.loads(path.read_text())["plan"] for path in files} == {plan}
    page = (finished / "paper_tables/mini/report.html").read_text()
    assert f"{len(files)} of {len(files)} results were made under the present plan, {plan[:12]}." in page


def test_the_pdf_is_made(latex, finished):
    assert (finished / "paper_tables/mini/tables.pdf").stat().st_size > 10_000


def naive_ranks(images, texts, text_image, captions, fold):
    """Count ranks by the any-positive convention in plain Python, by variant, direction and query."""
    kept = [n for n, image in enumerate(text_image) if list(text_image[:n]).count(image) < captions]
    found = {}
    for start in range(0, len(images), fold):
        own = range(start, start + fold)
        gallery = [n for n in kept if text_image[n] in own]
        for n in gallery:
            scores = [float(texts[n].astype(float) @ images[image].astype(float)) for image in own]
            found["t2i", n] = 1 + sum(score > scores[text_image[n] - start] + 1e-6 for score in scores)
        for image in own:
            scores = {n: float(texts[n].astype(float) @ images[image].astype(float)) for n in gallery}
            best = max(score for n, score in scores.items() if text_image[n] == image)
            others = [score for n, score in scores.items() if text_image[n] != image]
            found["i2t", image] = 1 + sum(score > best + 1e-6 for score in others)
    return found


def test_ranks_follow_from_the_embeddings(finished):
    """Every variant of a stored rank table equals a plain loop over the run's vectors, except one possible near-tie."""
    import numpy as np
    import pandas as pd

    from slq.datasets.splits import read_split
    from slq.evaluation.encode import embed_split
    from slq.evaluation.retrieval import load_run

    scratch = finished / "scratch"
    settings = {"family": "internvl", "dtype": "float32"}
    adapter = scratch / "runs/mini/mini-internvl/slq/seed1"
    backbone, retriever = load_run(settings, scratch / "backbones/mini-internvl", adapter)
    split = read_split(scratch / "data", "mini-coco", "test")
    vectors = embed_split(retriever, backbone, split, {"text": "", "image": ""}, 16)
    table = pd.read_parquet(finished / RUNS / "slq/seed1/retrieval/mini-coco.ranks.parquet")
    for name, captions, fold in (("five", 5, 16), ("all", 9, 16), ("folds", 5, 8)):
        for (way, number), rank in naive_ranks(*vectors, captions, fold).items():
            image = split.items[number if way == "i2t" else vectors[2][number]]["id"]
            query = image if way == "i2t" else f"{image}#{number % 5}"
            rows = table[(table.variant == name) & (table.direction == way) & (table["query"] == query)]
            assert len(rows) == 1 and rows["image"].item() == image
            assert abs(rows["rank"].item() - rank) <= 1 and rows["rank"].item() <= rows["rank_pessimistic"].item()
        counted = table[(table.variant == name) & (table.direction == "t2i")]
        exact = naive_ranks(*vectors, captions, fold)
        assert np.mean([rank for (way, _), rank in exact.items() if way == "t2i"]) == pytest.approx(
            counted["rank"].mean(), abs=0.1
        )


def test_ranks_and_answers_recompute_the_metrics(finished):
    import pandas as pd

    run = finished / RUNS / "slq" / "seed1"
    for name in ("mini-coco", "mini-flickr30k"):
        stored = json.loads((run / "retrieval" / f"{name}.json").read_text())
        table = pd.read_parquet(run / "retrieval" / f"{name}.ranks.parquet")
        ranks, metrics = table[table.variant == stored["variant"]], stored["metrics"]
        for direction, count in (("t2i", 80), ("i2t", 16)):
            mine = ranks[ranks.direction == direction]
            assert len(mine) == mine["query"].nunique() == count
            assert metrics[direction] == {f"R@{k}": 100 * (mine["rank"] <= k).sum() / count for k in (1, 5, 10)}
        lists = [json.loads(line) for line in (run / "retrieval" / f"{name}.top.jsonl").read_text().splitlines()]
        assert len(lists) == 6
        for query in lists:
            (rank,) = ranks[(ranks.direction == "t2i") & (ranks["query"] == query["query"])]["rank"]
            assert query["rank"] == rank and len(query["top"]) == 5
            assert (rank <= 5) == (query["image"] in [found["image"] for found in query["top"]])
    items = (finished / "scratch/data/mini-realworldqa/test/items.jsonl").read_text().splitlines()
    golds = {item["id"]: item["answers"] for item in map(json.loads, items)}
    base = finished / RUNS / "base" / "seed0"
    answers = (base / "retention" / "mini-realworldqa.answers.jsonl").read_text().splitlines()
    opened = [answer for answer in map(json.loads, answers) if answer["type"] == "open"]
    hits = sum(answer["answer"] in golds[answer["id"]] for answer in opened)
    types = json.loads((base / "retention" / "mini-realworldqa.json").read_text())["types"]
    assert types["open"]["score"] == 100 * hits / 8


def test_the_scores_follow_from_the_stored_answers(finished):
    """`slq score` reproduces the scores from answers only, and only base has blind answers."""
    slq = [sys.executable, "-m", "slq.cli", "score", "results/mini"]
    environment = {**os.environ, "PYTHONPATH": str(finished / "workflow")}
    answer = subprocess.run(slq, cwd=finished, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    files = {line.split()[0] for line in answer.stdout.splitlines()[1:]}
    asked = [f"{RUNS}/{run}/retention" for run in ("base/seed0", "slq/seed1")] + [f"{RUNS}/base/seed0/blind"]
    names = ("mini-mmmu", "mini-ocrbench", "mini-realworldqa")
    found = [f"{RUNS}/{run}/retrieval" for run in ("base/seed0", "slq/seed1")]
    ranked = {f"{folder}/{name}.json" for folder in found for name in ("mini-coco", "mini-flickr30k")}
    assert files == ranked | {f"{folder}/{name}.json" for folder in asked for name in names}
    blind = (finished / asked[-1] / "mini-realworldqa.answers.jsonl").read_text().splitlines()
    assert len(blind) == 16 and not any("<image" in line for line in blind)


def test_the_trace_of_a_cell_is_the_one_that_the_docs_list(finished):
    """A recall of Table 3 is traced to its ranks and recomputed, by at most twelve modules outside `common`."""
    command = [sys.executable, str(ROOT / "tests/trace.py"), "mini-internvl/slq mini-coco t2i R@5"]
    options = ["--config", "config.yaml", "--config", "tests/slice.yaml"]
    answer = subprocess.run([*command, *options], cwd=finished, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    modules = re.findall(r"^          slq\.(\S+)$", answer.stdout, re.MULTILINE)
    section = (ROOT / "docs/results.md").read_text().partition("## Trace a number")[2].partition("\n## ")[0]
    listed = [name.replace("/", ".") for name in re.findall(r"`([a-z_/]+)\.py`", section)]
    assert sorted(modules) == sorted(listed) and len(modules) <= 12
    assert "evidence" in answer.stdout and "mini-coco.ranks.parquet" in answer.stdout
    unknown = subprocess.run([*command[:2], "mini-internvl/slq nothing", *options], cwd=finished, capture_output=True)
    assert unknown.returncode == 1 and b"no cell" in unknown.stderr


def test_a_second_call_does_nothing(finished):
    before = processor_seconds()
    answer = snakemake(finished, *SLICE)
    assert answer.returncode == 0 and "Nothing to be done" in answer.stdout
    assert processor_seconds() - before < 40


@pytest.mark.slow
def test_from_scratch_again_gives_the_same_bytes(finished, checkout):
    """On the same machine, another folder gives the same metrics, ranks, answers, adapters, tables and figures."""
    assert snakemake(checkout, *SLICE).returncode == 0
    metrics = contents(finished, *METRICS)
    # Two runs on two datasets, base with and without images on three, three equivalence checks, and the audit.
    assert len(metrics) == 2 * 2 * 3 + 2 * 3 * 3 + 3 + 1
    assert contents(checkout, *METRICS) == metrics
    assert contents(checkout, *TABLES) == contents(finished, *TABLES)
    assert len(contents(finished, *TIMELESS)) == 3 * 2 + 1
    assert contents(checkout, *TIMELESS) == contents(finished, *TIMELESS)
    adapters = contents(finished, "scratch/runs/mini/*/*/*/adapter*")
    assert contents(checkout, "scratch/runs/mini/*/*/*/adapter*") == adapters and len(adapters) == 3
    for name in ("table3.tex", "gpu_hours.tex"):
        one, two = ((folder / "paper_tables/mini" / name).read_bytes() for folder in (finished, checkout))
        assert without_hours(one) == without_hours(two)


def test_a_seed_added_gives_other_numbers_and_leaves_what_was_there(edited):
    before = contents(edited, f"{RUNS}/**/*.*", "paper_tables/mini/figures/queries.*")
    answer = snakemake(edited, *SLICE, "--config", "seeds=[1,2]")
    assert answer.returncode == 0, answer.stdout
    assert contents(edited, *before) == before
    for name in ("adapter.safetensors",):
        one, two = (edited / f"scratch/runs/mini/mini-internvl/slq/seed{seed}" / name for seed in (1, 2))
        assert one.read_bytes() != two.read_bytes()
    one, two = ((edited / RUNS / f"slq/seed{seed}/retrieval/mini-coco.ranks.parquet").read_bytes() for seed in (1, 2))
    assert one != two
    assert planned(edited, *SLICE, "--config", "seeds=[1,2]") == {}
    assert planned(edited, *SLICE) == for_this_machine(RENDERED | {"count_gpu_hours": 1, **AUDITED}), "a seed removed"
    another = for_this_machine(FOUND | {"count_gpu_hours": 1, **AUDITED})
    assert planned(edited, *SLICE, "--config", "seed=2") == another, "one seed, in place of the list"


DRAWN = ("recall.*", "retention.*", "training.*", "figures.csv")
TYPESET = {"render_tables": 1, "compile_pdf": 1, "write_page": 1, "all": 1}
BASE_CHECKED = {"check_base_scores": 1}  # due if the scores of base, or code that reads them, may have changed
JUDGED = {"judge_claims": 1, "compare_paper": 1}
AUDITED = {"paper_audit": 1}  # due after changes of the forecast's settings or of code that reads results
DECIDED = {"draw_figures": 1, **TYPESET, **JUDGED}
RENDERED = {**DECIDED, **BASE_CHECKED}
FOUND = {"draw_queries": 1, **RENDERED}  # retrieved items may have changed
ASKED = {"evaluate_retention": 1, "check_equivalence": 1, "evaluate_blind": 1, "count_gpu_hours": 1}
EVALUATED = {"evaluate_retrieval": 2, **ASKED, **FOUND}
RETRAINED = {"train": 1, "evaluate_retrieval": 1, "check_equivalence": 1, "count_gpu_hours": 1, "draw_queries": 1}
RETRAINED |= DECIDED


def append(path, text):
    path.write_text(path.read_text() + text)


def change(folder, override):
    """Lay an overlay over the slice, and return the arguments of Snakemake."""
    path = folder / "tests" / "change.yaml"
    path.write_text(yaml.safe_dump(override))
    return [*SLICE, "tests/change.yaml"]


def mini(**settings):
    return {"presets": {"mini": settings}}


CONFIG_EDITS = {
    "a learning rate": (mini(hyperparameters={"slq": {"learning_rate": 0.02}}), RETRAINED),
    "another method's learning rate": (mini(hyperparameters={"lora": {"learning_rate": 0.02}}), {}),
    "negatives of the same image": (
        mini(training={"mask_same_image": True}),
        RETRAINED | {"register_base": 1, "evaluate_retrieval": 2, **ASKED, **BASE_CHECKED},
    ),
    "a question's length": (mini(evaluation={"max_new_tokens": 4}), {**ASKED, **RENDERED}),
    "how images of questions are cut": (
        {"backbones": {"mini-internvl": {"retention_images": {"mmmu": {"max_tiles": 2}}}}},
        {**ASKED, **RENDERED},
    ),
    "a longer proof": (
        mini(evaluation={"equivalence_items": 64}),
        {"check_equivalence": 1, "count_gpu_hours": 1, **DECIDED},
    ),
    "a printed scorer": (
        mini(evaluation={"scorers": {"realworldqa": "first-letter-1"}}),
        {**ASKED, **RENDERED},
    ),
    "a retrieval dataset less": (
        mini(retrieval_datasets=["mini-coco"]),
        {"audit": 1, "evaluate_retrieval": 2, "count_gpu_hours": 1, **FOUND},
    ),
    "a retention dataset less, and a rate": (
        mini(retention_datasets=[], hyperparameters={"slq": {"learning_rate": 0.02}}),
        {"audit": 1, "train": 1, "evaluate_retrieval": 1, "count_gpu_hours": 1, **FOUND},
    ),
    "a seed more": (
        {"seeds": [1, 2]},
        {"train": 1, "evaluate_retrieval": 1, "check_equivalence": 1, "count_gpu_hours": 1, **RENDERED, **AUDITED},
    ),
    "a label": ({"backbones": {"mini-internvl": {"label": "InternVL"}}}, FOUND),
}


@pytest.mark.parametrize("edit", CONFIG_EDITS)
def test_an_edit_of_the_configuration_re_runs_what_depends_on_it(edited, edit):
    override, plan = CONFIG_EDITS[edit]
    assert planned(edited, *change(edited, override)) == for_this_machine(plan)


CODE_EDITS = {
    "a comment": ("workflow/slq/training/loop.py", "\n# A remark.\n", {}),
    "the loss": ("workflow/slq/training/loss.py", "\nEPSILON = 1e-6\n", RETRAINED),
    # Recalls on val select a checkpoint.
    "ranks": ("workflow/slq/evaluation/ranks.py", "\nMORE_KS = (50,)\n", {"train": 1, **EVALUATED, **AUDITED}),
    "a template": ("paper_tables/templates/short.tex.j2", "\n", TYPESET),
    "a colour": (
        "workflow/slq/reporting/style.py",
        "\nFAINT = 'red'\n",
        {"draw_figures": 1, "draw_queries": 1, "write_page": 1, "all": 1},
    ),
    # Code that reads results scores their answers again.
    "a scorer": ("workflow/slq/evaluation/answer_matching.py", "\nMORE = 1\n", {**ASKED, **FOUND, **AUDITED}),
    "how an image becomes a message": (
        "workflow/slq/caching/feature_cache.py",
        "\nMORE = 1\n",
        {"cache_features": 1, "train": 1, **EVALUATED},
    ),
    "an adapter": (
        "workflow/slq/models/families/internvl.py",
        "\nMORE = 1\n",
        {"pretrain_backbone": 1, "register_base": 1, "cache_features": 1, "train": 1, **EVALUATED},
    ),
    "an adapter of another family": ("workflow/slq/models/families/qwen3_vl.py", "\nMORE = 1\n", {}),
    "a method": ("workflow/slq/methods/slq.py", "\nMORE = 1\n", RETRAINED | AUDITED | BASE_CHECKED),
    "another method": ("workflow/slq/methods/lora.py", "\nMORE = 1\n", {"count_gpu_hours": 1, **FOUND, **AUDITED}),
    "a table": (
        "workflow/slq/reporting/paper_tables.py",
        "\nMORE = 1\n",
        TYPESET,
    ),
    "the name of a method": ("workflow/slq/config/baselines.py", "\nMORE = 1\n", FOUND | AUDITED),
    "a scorer's comment": ("workflow/slq/evaluation/scorers.py", "\n# A remark.\n", {}),
}


@pytest.mark.parametrize("edit", CODE_EDITS)
def test_an_edit_of_the_code_re_runs_its_stage(edited, edit):
    path, text, plan = CODE_EDITS[edit]
    append(edited / path, text)
    assert planned(edited, *SLICE) == for_this_machine(plan)


def test_pinned_code_keeps_results_and_tables_say_which(edited):
    """After an update in the middle of a run, finished results stay, and tables mark them as results of other code."""
    append(edited / "workflow/slq/training/loss.py", "\nEPSILON = 1e-6\n")
    pinned = [*SLICE, "--config", "code=pinned"]
    assert planned(edited, *SLICE) == for_this_machine(RETRAINED)
    assert planned(edited, *pinned) == for_this_machine({**TYPESET, "compare_paper": 1})
    before = contents(edited, "results/mini/*/*/*/run.json")
    answer = snakemake(edited, *pinned)
    assert answer.returncode == 0, answer.stdout
    assert contents(edited, "results/mini/*/*/*/run.json") == before
    table = (edited / "paper_tables/mini/table3.html").read_text()
    job = "train (backbone mini-internvl, method slq, seed 1): code"
    assert f"Made by another version of the code than the present one, as the code is pinned: {job}" in table
    assert planned(edited, *pinned) == {}


def test_a_search_tries_each_rate_once_and_its_choice_is_not_trained_again(edited):
    """An added rate trains only itself; one that diverges is recorded; a trial whose rate is configured is the run."""
    sweep = {"center": {"slq": 0.03}, "rates": 2, "factor": 1.0e30, "extensions": 0}
    answer = snakemake(edited, *change(edited, mini(lr_sweep=sweep)), "--", "lr_sweep")
    assert answer.returncode == 0, answer.stdout
    assert planned(edited, *change(edited, mini(lr_sweep=sweep))) == for_this_machine(TYPESET), (
        "only the table of rates"
    )
    override = change(edited, mini(lr_sweep=sweep | {"rates": 3}))
    before = contents(edited, f"{RUNS}/slq/lr*/seed1/run.json")
    answer = snakemake(edited, *override, "--", "lr_sweep")
    assert answer.returncode == 0, answer.stdout
    assert re.findall(r"Training (\S+)", answer.stdout) == ["slq/lr3e+28"]
    after = contents(edited, f"{RUNS}/slq/lr*/seed1/run.json")
    assert len(after) == 3 and before.items() <= after.items()
    search = json.loads((edited / RUNS / "slq/seed1/lr_sweep.json").read_text())
    tried = {trial["learning_rate"]: trial for trial in search["trials"]}
    assert list(tried) == [3e-32, 0.03, 3e28] and tried[3e28]["val"] is None
    assert re.match(r"(loss|the gradient's norm) is (nan|inf)", tried[3e28]["diverged"])
    assert search["learning_rate"] in (3e-32, 0.03) and search["hours"] > 0
    assert planned(edited, *override, "--", "lr_sweep") == {}

    configured = change(edited, mini(lr_sweep=sweep, hyperparameters={"slq": {"learning_rate": 0.03}}))
    run = f"{RUNS}/slq/seed1/run.json"
    answer = snakemake(edited, *configured, "--", run)
    assert answer.returncode == 0 and "this run is already finished" in answer.stdout, answer.stdout
    own, trial = (json.loads((edited / file).read_text()) for file in (run, run.replace("slq/", "slq/lr0.03/")))
    assert own["method"] == own["settings"].pop("method") == "slq" and "variant_of" not in own["settings"]
    assert trial["settings"].pop("method") == "slq/lr0.03" and trial["settings"].pop("variant_of") == "slq"
    assert own == trial | {"method": "slq"}
    folder = edited / "scratch/runs/mini/mini-internvl/slq"
    tensors = [(folder / name / "seed1/adapter.safetensors").read_bytes() for name in ("", "lr0.03")]
    assert tensors[0] == tensors[1]


def test_tables_from_a_clone_of_the_results(finished, tmp_path):
    """A clone of committed results, without scratch, gives tables and figures with the same bytes in seconds."""
    source = shutil.copytree(finished, tmp_path / "source", ignore=shutil.ignore_patterns("scratch", ".snakemake"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-A"], ["add", "-f", "results"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=source, check=True)
    subprocess.run(["git", "clone", "-q", str(source), str(tmp_path / "clone")], check=True)
    before = processor_seconds()
    answer = snakemake(tmp_path / "clone", "tables", "figures", "--cores", "1", "--configfile", "tests/slice.yaml")
    assert answer.returncode == 0, answer.stdout
    assert processor_seconds() - before < 40
    rules = set(re.findall(r"^(?:local)?rule (\w+):", answer.stdout, re.MULTILINE))
    assert rules <= {"count_gpu_hours", "render_tables", "compile_pdf", "tables", "draw_figures", "figures"}, (
        answer.stdout
    )
    made = ("paper_tables/mini/*.tex", *(f"paper_tables/mini/figures/{name}" for name in DRAWN))
    assert contents(tmp_path / "clone", *made) == contents(finished, *made)


def test_copied_results_beside_newer_data_are_shown_and_not_made_again(finished, tmp_path):
    """The results are copied without Snakemake's metadata, and one prepared split was touched later."""
    copy = shutil.copytree(finished, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns(".snakemake"))
    shutil.rmtree(copy / "paper_tables/mini")
    (copy / "scratch/data/mini-coco/test/manifest.json").touch()
    before = contents(copy, *METRICS, f"{RUNS}/*/*/run.json", "scratch/runs/mini/*/*/*/adapter*")
    present = ["--cores", "1", "--config", "cells=present", "--configfile", "tests/slice.yaml", "--"]
    plan = {"render_tables": 1, "compile_pdf": 1, "draw_figures": 1, "tables": 1, "figures": 1}
    assert planned(copy, *present, "tables", "figures") == for_this_machine(plan)
    answer = snakemake(copy, *present, "tables", "figures", "claims", "compare")
    assert answer.returncode == 0, answer.stdout
    assert contents(copy, *METRICS, f"{RUNS}/*/*/run.json", "scratch/runs/mini/*/*/*/adapter*") == before
    assert contents(copy, *TABLES) == contents(finished, *TABLES)
    assert planned(copy, *present, "tables", "figures", "claims") == {}


def test_a_backbone_without_weights_stops_before_any_job(edited):
    snapshot = edited / "snapshot"
    shutil.copytree(edited / "scratch/backbones/mini-internvl", snapshot)
    (snapshot / "model.safetensors").unlink()
    backbones = {"mine": {"label": "mine", "paper_row": "InternVL3-1B", "family": "internvl", "local_dir": "snapshot"}}
    override = {
        "backbones": backbones,
        **mini(backbones=["mini-internvl", "mine"], hyperparameters={"slq": {"queries": 3}}),
    }
    answer = snakemake(edited, *change(edited, override))
    assert answer.returncode == 1
    assert "backbones.mine.local_dir is 'snapshot', a folder without weights; expected *.safetensors" in answer.stdout
    assert not re.search(r"^Job \d+", answer.stdout, re.MULTILINE)


def test_a_local_backbone_runs_like_a_pre_trained_one(edited):
    """A backbone adopted from a local snapshot folder gives the same numbers as the original."""
    shutil.copytree(edited / "scratch/backbones/mini-internvl", edited / "snapshot")
    backbones = {"mine": {"label": "mine", "paper_row": "InternVL3-1B", "family": "internvl", "local_dir": "snapshot"}}
    targets = [f"results/mini/mine/slq/seed1/retrieval/mini-{name}.json" for name in ("coco", "flickr30k")]
    overrides = change(edited, {"backbones": backbones, **mini(backbones=["mine"])})
    answer = snakemake(edited, *overrides, "--", *targets)
    assert answer.returncode == 0, answer.stdout
    for target in targets:
        ours, theirs = (
            json.loads((edited / path).read_text()) for path in (target, target.replace("/mine/", "/mini-internvl/"))
        )
        assert ours["metrics"] == theirs["metrics"]


def test_a_leak_stops_before_any_training(edited):
    """A local training split that contains a test id is refused with one message, and nothing is trained."""
    data = edited / "data" / "mine"
    for split in ("train", "val", "test"):
        shutil.copytree(edited / "scratch/data/mini-coco" / split, data / split)
    leaked = (data / "test/items.jsonl").read_text().splitlines()[0]
    shutil.copytree(data / "test/images", data / "train/images", dirs_exist_ok=True)
    append(data / "train/items.jsonl", leaked + "\n")
    mine = {"label": "mine", "paper_column": "coco", "kind": "retrieval", "local_dir": "data/mine"}
    override = {"datasets": {"mine": mine}, **mini(train_dataset="mine", retrieval_datasets=["mine"])}
    answer = snakemake(edited, *change(edited, override))
    assert answer.returncode == 1
    assert "slq: error: mine/test: 1 of 16 ids are in the training split mine/train" in answer.stdout
    assert "Training slq" not in answer.stdout
