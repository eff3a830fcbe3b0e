"""Comparison of two results: equal results agree, chance differences are noise, and faults are named."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from checkout import snakemake
from comparing import CONFIG, cells, compared, draw_run, overlay, write_hits
from slq.cli import main
from slq.common.files import read_json, write_json
from stored import CPU, H200, PAPER, Runs, mini_results, recalls, stored_like_the_paper, write_ranks

F = "mini-a/slq/seed1/retrieval/mini-f.json"


def change(path, **content):
    write_json(path, read_json(path) | content)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Results of one run, which tests copy."""
    return draw_run(tmp_path_factory.mktemp("drawn"), np.random.default_rng(1))


@pytest.fixture
def pair(drawn, tmp_path):
    """The run and a copy of it."""
    return drawn, shutil.copytree(drawn, tmp_path / "copy")


# ---- equal results ---------------------------------------------------------------------------------------------------


def test_a_run_against_itself_agrees_in_every_cell(pair, tmp_path):
    found = compared(tmp_path / "out.json", *pair)
    assert found["counts"].pop("agrees") == len(found["cells"]) == 14 and not any(found["counts"].values())
    assert {cell["delta"] for cell in found["cells"]} == {0} and found["differences"] == []
    assert found["preset"] == "mini" and [found[side]["kind"] for side in "ab"] == ["folder", "folder"]
    (score,) = (cell for cell in found["cells"] if cell["metric"] == "score")
    assert score["files"] == [f"{folder}/mini-a/slq/seed1/retention/mini-r.json" for folder in pair]
    assert all(Path(file).exists() for cell in found["cells"] for file in cell["files"])


def test_rows_equal_base_by_proof_are_said_to_be(tmp_path):
    results = mini_results(tmp_path)
    Runs(results, "mini").inherited("mini-a", "slq", "mini-r")
    found = compared(tmp_path / "out.json", results / "mini", results / "mini")
    reasons = {(cell["method"], cell["reason"]) for cell in found["cells"] if cell["metric"] == "score"}
    assert ("slq", "inherited from base in A and B") in reasons and ("base", "") in reasons
    assert found["counts"]["agrees"] == len(found["cells"])


# ---- faults ----------------------------------------------------------------------------------------------------------


def miss(folder, wanted):
    """Move `wanted` captions of as many images, in a run on mini-f, from rank 1 to rank 2."""
    path = folder / "mini-a/slq/seed1/retrieval/mini-f.ranks.parquet"
    table = pd.read_parquet(path)
    captions = table[(table["direction"] == "t2i") & (table["rank"] == 1)].drop_duplicates("image").index[:wanted]
    assert len(captions) == wanted
    table.loc[captions, "rank"] = 2
    ranks = {way: table[table["direction"] == way]["rank"].tolist() for way in ("t2i", "i2t")}
    write_ranks(path.with_name("mini-f.json"), ranks["t2i"], ranks["i2t"])


def test_an_error_of_two_points_in_one_cell_is_found_and_named(pair, tmp_path, capsys):
    miss(pair[1], 10)
    found = compared(tmp_path / "out.json", *pair)
    assert cells(found, "differs") == ["mini-a/slq mini-f t2i R@1"]
    assert found["counts"]["agrees"] == 13
    assert "Differs: mini-a/slq mini-f t2i R@1, +2.0 (p 0.002, corrected 0.025" in capsys.readouterr().out
    arguments = ["compare", *map(str, pair), *overlay(tmp_path), "--fail-on"]
    assert main([*arguments, "differs"]) == 1
    assert capsys.readouterr().err == "slq: error: compare: 1 differs\n"
    assert main([*arguments, "missing"]) == 0


def test_the_same_adapter_that_gives_another_number_differs(tmp_path):
    """Two evaluations of one adapter have the same seed: without ranks, two points are not noise."""
    for side, value in (("one", 70.0), ("other", 72.0)):
        runs = Runs(tmp_path / side / "results", "mini")
        runs.run("mini-a", "slq")
        runs.retrieval("mini-a", "slq", "mini-f", recalls(value))
        change(tmp_path / side / "results/mini" / F, inputs={"adapter": "one", "dataset": "f"})
    found = compared(tmp_path / "out.json", tmp_path / "one/results/mini", tmp_path / "other/results/mini")
    assert found["counts"]["differs"] == 6 and found["cells"][0]["reason"].startswith("the same adapter")


def test_answers_are_compared_question_by_question(pair, tmp_path):
    """Twelve of 200 questions are lost and none won: McNemar's exact p is 2 / 2^12."""
    path = pair[1] / "mini-a/slq/seed1/retention/mini-r.json"
    lines = path.with_name("mini-r.answers.jsonl").read_text().splitlines()
    hits = [json.loads(line)["answer"] == "A" for line in lines]
    lost = [place for place, hit in enumerate(hits) if hit][:12]
    write_hits(path, [hit and place not in lost for place, hit in enumerate(hits)])
    found = compared(tmp_path / "out.json", *pair)
    assert cells(found, "differs") == ["mini-a/slq mini-r score"]
    (cell,) = (cell for cell in found["cells"] if cell["verdict"] == "differs")
    assert cell["delta"] == pytest.approx(6) and cell["interval"][0] < 6 < cell["interval"][1]
    assert "sign-flip test on the same items" in cell["reason"] and "p <0.001" in cell["reason"]


# ---- cells of one side only, or of another kind ----------------------------------------------------------------------


def test_missing_and_extra_cells_are_said(pair, tmp_path, capsys):
    mine, others = pair
    for folder in pair:
        change(folder / F, inputs=read_json(folder / F)["inputs"] | {"adapter": "one"})
    run = others / "mini-a/slq/seed1"
    for path in sorted((run / "retrieval").glob("mini-f.*")):
        path.rename(path.with_name(path.name.replace("mini-f", "flickr")))
    shutil.rmtree(run / "retention")
    Runs(others.parent, others.name).run("mini-b", "slq", 99, preset="mini")
    found = compared(tmp_path / "out.json", mine, others)
    reasons = {(cell["benchmark"], cell["verdict"]): cell["reason"] for cell in found["cells"]}
    assert reasons["mini-f", "extra"] == reasons["mini-r", "extra"] == "not in B"
    assert reasons["flickr", "missing"] == "not in A"
    assert [cell["reason"] for cell in found["cells"] if cell["backbone"] == "mini-b"] == ["A has no such run"]
    assert found["counts"] == {
        "agrees": 7,
        "extra": 7,
        "missing": 7,
        "differs": 0,
        "inside noise": 0,
        "this run only": 0,
        "not comparable": 0,
        "stale": 0,
    }
    missing = next(cell for cell in found["cells"] if cell["verdict"] == "missing")
    assert (missing["a"], missing["delta"], missing["interval"]) == (None, None, None) and missing["b"] > 0
    assert "7 missing, 7 extra" in capsys.readouterr().out


def test_numbers_of_something_else_are_not_comparable(tmp_path):
    found = {}
    for side, device, audit, scorer in (("one", CPU, [], "a-1"), ("other", H200, ["5"], "b-1")):
        results = tmp_path / side / "results"
        runs = Runs(results, "mini")
        runs.run("mini-a", "slq", device=device)
        runs.retrieval("mini-a", "slq", "mini-f", recalls(70.0))
        runs.retrieval("mini-a", "slq", "mini-c", recalls(70.0))
        change(results / "mini" / F.replace("mini-f", "mini-c"), inputs={"dataset": side})
        runs.retention("mini-a", "slq", "mini-r", 50.0)
        change(results / "mini/mini-a/slq/seed1/retention/mini-r.json", scorer=scorer)
        splits = {"mini-f/test": {"leaked": audit}}
        write_json(results / "mini/audit.json", {"schema": 4, "allow_leak": True, "splits": splits})
        found[side] = results / "mini"
    made = compared(tmp_path / "out.json", *found.values())
    reasons = {cell["benchmark"]: cell["reason"] for cell in made["cells"] if cell["verdict"] == "not comparable"}
    assert reasons == {
        "mini-c": "other data: one against other",
        "mini-f": "other number of test items in the training set: 0 against 1",
        "mini-r": "other scorer: a-1 against b-1",
        "training": "other device: Xeon_E5 & co x 2 against NVIDIA H200 x 8",
    }
    assert made["counts"]["not comparable"] == 14 and cells(made, "agrees") == ["mini-a/slq training parameters"]


def test_what_may_explain_a_difference_is_listed(pair, tmp_path, capsys):
    def made(epochs, torch):
        return {"settings": {"training": {"epochs": epochs, "batch_size": 8}}, "inputs": {"train": f"hash{epochs}"}} | {
            "provenance": {"versions": {"torch": torch}, "git": {"commit": "abc", "dirty": False}}
        }

    for folder, content in zip(pair, (made(1, "2.13.0"), made(5, "2.14.0")), strict=True):
        change(folder / "mini-a/slq/seed1/run.json", **content)
    change(pair[1] / "mini-a/slq/seed1/run.json", plan="5ec0" * 16)
    found = compared(tmp_path / "out.json", *pair)
    assert found["differences"] == [
        {"what": "config", "key": "training.epochs", "a": "1", "b": "5"},
        {"what": "versions", "key": "torch", "a": "2.13.0", "b": "2.14.0"},
        {"what": "data", "key": "train", "a": "hash1", "b": "hash5"},
        {"what": "circumstances", "key": "plan", "a": "-", "b": "5ec05ec05ec0, -"},
    ]
    assert "config: training.epochs" in capsys.readouterr().out


# ---- the paper -------------------------------------------------------------------------------------------------------


def test_stand_ins_are_not_comparable_with_the_paper(drawn, tmp_path):
    found = compared(tmp_path / "out.json", drawn, "paper")
    assert found["b"]["kind"] == "paper" and found["differences"] == []
    judged = [cell for cell in found["cells"] if cell["a"] is not None and cell["b"] is not None]
    assert {cell["verdict"] for cell in judged} == {"not comparable"} and len(judged) == 14
    (cell,) = (cell for cell in judged if (cell["benchmark"], cell["metric"]) == ("mini-c", "t2i R@5"))
    assert cell["b"] == 74.3 and cell["delta"] == pytest.approx(cell["a"] - 74.3)
    assert cell["reason"] == "mini-a stands for InternVL3-1B; mini-c stands for coco"
    assert "InternVL3-8B/slq coco t2i R@5" in cells(found, "missing")


@pytest.fixture
def papers(tmp_path):
    """Results that store the paper's own SLQ rows as ours, with intervals of one point either way."""
    stored_like_the_paper(tmp_path / "results")
    for entry in PAPER["backbones"]:
        Runs(tmp_path / "results", "paper").run(entry["name"], "slq", 36_000 if entry["name"] == "InternVL3-1B" else 10)
    return tmp_path / "results/paper"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_numbers_on_the_papers_own_sets_are_judged_from_three_seeds_on(papers, tmp_path, seeds):
    """With fewer, a trained method's recalls decide nothing, and the reason has what these runs alone would say."""
    path = papers / "InternVL3-1B/slq/seed1/retrieval/flickr30k.json"
    content = read_json(path)
    moves = {"R@1": 5.0, "R@5": -1.3, "R@10": -0.6}  # beyond chance; beyond the tolerance, not beyond chance; within it
    for recall, move in moves.items():
        value = content["metrics"]["i2t"][recall] = content["metrics"]["i2t"][recall] + move
        content["ci95"]["i2t"][recall] = [value - 1, value + 1]
    write_json(path, content)
    for backbone, seed in itertools.product(PAPER["backbones"], range(2, seeds + 1)):
        copy = shutil.copytree(*(papers / backbone["name"] / "slq" / f"seed{one}" for one in (1, seed)))
        write_json(copy / "run.json", read_json(copy / "run.json") | {"seed": seed})
    found = compared(tmp_path / "out.json", papers, "paper")
    judged = {
        cell["metric"]: (cell["verdict"], cell["reason"])
        for cell in found["cells"]
        if (cell["backbone"], cell["method"], cell["benchmark"]) == ("InternVL3-1B", "slq", "flickr30k")
    }
    verdicts, reasons = zip(*(judged[f"i2t {recall}"] for recall in moves), strict=True)
    if seeds < 3:
        alone = [reason.partition(";")[0] for reason in reasons]
        assert set(verdicts) == {"this run only"} and found["counts"]["this run only"] == 12 * 4
        assert alone == ["this run only: differs", "this run only: inside noise", "this run only: agrees"]
        assert found["counts"]["agrees"] == 1
    else:
        assert verdicts == ("differs", "inside noise", "agrees") and found["counts"]["this run only"] == 0
        assert found["counts"]["agrees"] == 12 * 4 - 2 + 1
    parameters = {
        cell["backbone"]: cell["verdict"] for cell in found["cells"] if cell["metric"] == "parameters" and cell["a"]
    }
    assert parameters.pop("InternVL3-1B") == "agrees" and set(parameters.values()) == {"differs"}
    assert found["counts"]["missing"] == 4 * 2 * 9 + 4 * 4  # full FT and LoRA; scores and hours of SLQ


def test_a_count_without_the_lm_head_says_so_beside_the_papers(papers, tmp_path):
    Runs(tmp_path / "results", "paper").run("InternVL3-1B", "full_ft", 494_000_000)
    found = compared(tmp_path / "out.json", papers, "paper")
    place = ("InternVL3-1B", "full_ft", "parameters")
    (cell,) = (one for one in found["cells"] if (one["backbone"], one["method"], one["metric"]) == place)
    assert (cell["verdict"], cell["a"], cell["b"]) == ("differs", 494e6, 600e6)
    assert "the paper's count is with the LM head" in cell["reason"] and "ours without" in cell["reason"]
    others = [one for one in found["cells"] if one["metric"] == "parameters" and one["method"] != "full_ft"]
    assert others and not any("LM head" in one["reason"] for one in others)


def test_the_paper_agrees_with_itself_and_with_the_sides_changed(papers, tmp_path):
    both = compared(tmp_path / "out.json", "paper", "paper")
    assert both["counts"]["agrees"] == len(both["cells"]) == 4 * 27 + 4 * 8
    one = compared(tmp_path / "out.json", papers, "paper")
    other = compared(tmp_path / "out.json", "paper", papers)
    assert [cell["verdict"] for cell in one["cells"] if cell["a"] and cell["b"]] == [
        cell["verdict"] for cell in other["cells"] if cell["a"] and cell["b"]
    ]
    assert one["counts"]["missing"] == other["counts"]["extra"]


# ---- sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "nothing: does not exist; expected a folder of results"),
        ("empty", "empty: contains no <backbone>/<method>/seed<k>/run.json; expected a folder of results"),
        ("two", "two: contains several presets; choose one of two/mini, two/paper"),
    ],
)
def test_what_cannot_be_compared_is_named(drawn, tmp_path, monkeypatch, capsys, name, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for preset in ("mini", "paper"):
        Runs(Path("two"), preset).run("mini-a", "slq")
    assert main(["compare", str(drawn), name, *CONFIG]) == 1
    assert capsys.readouterr().err.startswith(f"slq: error: {message}")


@pytest.mark.parametrize("source", ["folder", "bundle"])
def test_two_versions_of_the_schema_are_a_clear_error(pair, tmp_path, capsys, source):
    mine, other = pair
    change(other / F, schema=1)
    named = other / F
    if source == "bundle":
        other = tmp_path / "copy.tar.gz"
        shutil.copytree(pair[1], tmp_path / "results/mini")
        assert main(["bundle", str(tmp_path / "results/mini"), str(other)]) == 0
        named = f"{other}/results/mini/{F}"
        capsys.readouterr()
    assert main(["compare", str(mine), str(other), *CONFIG]) == 1
    assert capsys.readouterr().err.startswith(f"slq: error: {named}: schema 1, not 3: written by a version before")


def test_a_copy_under_any_name_is_a_side(drawn, tmp_path, monkeypatch):
    copy = shutil.copytree(drawn, tmp_path / "last week")
    monkeypatch.chdir(copy)
    assert compared(tmp_path / "out.json", ".", drawn)["counts"]["agrees"] == 14
    assert compared(tmp_path / "out.json", drawn.parent, copy)["counts"]["agrees"] == 14


def test_two_seeds_of_one_folder_are_compared_as_those_of_two_folders_are(tmp_path, capsys):
    """Base, which has no seed, is on both sides; the paper may be a side too, without a seed."""
    random = np.random.default_rng(4)
    both = draw_run(tmp_path, random)
    draw_run(tmp_path, random, seed=2)
    base = Runs(tmp_path / "results", "mini")
    base.run("mini-a", "base", trained=0)
    base.retrieval("mini-a", "base", "mini-f", recalls(30.0))
    alone = []
    for seed in (1, 2):
        shutil.copytree(both, tmp_path / str(seed) / "results/mini")
        shutil.rmtree(tmp_path / str(seed) / f"results/mini/mini-a/slq/seed{3 - seed}")
        alone.append(str(tmp_path / str(seed) / "results/mini"))
    options = [*overlay(tmp_path), "--json", str(tmp_path / "out.json")]
    assert main(["compare", *alone, *options]) == 0
    expected = read_json(tmp_path / "out.json")
    assert main(["compare", str(both), str(both), *options, "--seeds", "1", "2"]) == 0
    found = read_json(tmp_path / "out.json")
    assert [found[side]["what"] for side in "ab"] == [f"preset mini, 2 runs, seed {seed}" for seed in (1, 2)]
    assert found["counts"] == expected["counts"] and found["differences"] == expected["differences"]
    assert [cell | {"files": []} for cell in found["cells"]] == [cell | {"files": []} for cell in expected["cells"]]
    assert main(["compare", str(both), "paper", *options, "--seeds", "2"]) == 0
    assert read_json(tmp_path / "out.json")["a"]["what"] == "preset mini, 2 runs, seed 2"
    capsys.readouterr()
    refused = {
        ("mini", "1", "3"): "mini: no run of seed 3; existing seeds: 1, 2",
        ("mini", "1", "2", "2"): "--seeds 1 2 2: expected one seed for A and one for B, and none for paper",
        ("paper", "1", "2"): "--seeds 1 2: expected one seed for A and one for B, and none for paper",
    }
    for (side, *seeds), message in refused.items():
        other = "paper" if side == "paper" else str(both)
        assert main(["compare", str(both), other, *options, "--seeds", *seeds]) == 1
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1


# ---- output ----------------------------------------------------------------------------------------------------------


def test_the_table_fits_a_terminal(pair, papers, capsys, tmp_path):
    miss(pair[1], 10)
    long = tmp_path / ("a-name-that-is-long-" * 6)
    shutil.copytree(pair[0], long)
    for one, other in (pair, (pair[0], "paper"), (long, pair[1])):
        compared(tmp_path / "out.json", one, other)
    compared(tmp_path / "out.json", papers, "paper")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100 and len(lines) > 200


def test_the_text_is_what_is_printed_and_holds_every_cell(pair, tmp_path, capsys):
    found = compared(tmp_path / "out.json", *pair, text=tmp_path / "out.txt")
    text = (tmp_path / "out.txt").read_text()
    assert text == capsys.readouterr().out and "\n14 cells: 14 agrees\n" in text
    for cell in found["cells"]:
        assert f"\n  {cell['benchmark']} {cell['metric']} " in text


def test_the_rule_compares_the_presets_results_with_the_paper(checkout):
    runs = Runs(checkout / "results", "mini")
    runs.run("mini-internvl", "slq")
    runs.retrieval("mini-internvl", "slq", "mini-coco", recalls(70.0))
    answer = snakemake(checkout, "--cores", "1", "compare", "--config", "cells=present")
    assert answer.returncode == 0, answer.stdout
    found = read_json(checkout / "results/mini/compare/paper.json")
    assert found["counts"]["not comparable"] == 7 and found["preset"] == "mini"
    assert "mini-internvl stands for InternVL3-1B; mini-coco stands for coco" in answer.stdout
    again = snakemake(checkout, "--cores", "1", "compare", "--config", "cells=present")
    assert "mini-internvl stands for InternVL3-1B" in again.stdout and "compare_paper" not in again.stdout


def test_the_rule_compares_a_preset_without_runs(checkout):
    """Its page can then state that nothing was run."""
    answer = snakemake(checkout, "--cores", "1", "compare", "--config", "cells=present", "preset=paper")
    assert answer.returncode == 0, answer.stdout
    found = read_json(checkout / "results/paper/compare/paper.json")
    assert found["counts"]["missing"] == len(found["cells"]) == 140 and found["preset"] == "paper"
    assert found["a"]["what"] == "preset paper, no runs"
