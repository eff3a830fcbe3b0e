"""Stored ranks recounted by `slq score`: the same numbers, and a message for files that are not the run's own."""

import re
import time

import numpy as np
import pandas as pd
import pytest

from slq.cli import main
from slq.common.files import hash_file, read_json, write_json
from slq.evaluation.rank_table import RetrievalIds, RetrievalVariant, build_variant_table
from slq.evaluation.retrieval_metrics import SCHEMA, compute_retrieval_metrics, gallery_hash

VARIANTS = [RetrievalVariant("five", 5), RetrievalVariant("all"), RetrievalVariant("folds", 5, 10)]
RANKS, METRICS = "run/retrieval/set.ranks.parquet", "run/retrieval/set.json"


def store(folder, images=20):
    """Write the files of `evaluate_retrieval` for vectors of few values: images with 3 to 7 captions, and ties."""
    random = np.random.default_rng(5)
    text_image = np.repeat(np.arange(images), 3 + np.arange(images) % 5)
    pictures = random.integers(-2, 3, (images, 3)).astype(np.float32)
    texts = pictures[text_image] + random.integers(-1, 2, (len(text_image), 3)).astype(np.float32)
    captions = [f"{image}#{n}" for n, image in enumerate(text_image)]
    names = RetrievalIds([str(n) for n in range(images)], captions, text_image)
    table = pd.concat(
        [build_variant_table(names, pictures, texts, text_image, one) for one in VARIANTS], ignore_index=True
    )
    metrics = compute_retrieval_metrics(table, VARIANTS, "five")
    (folder / "run/retrieval").mkdir(parents=True)
    table.to_parquet(folder / RANKS, index=False)
    inputs = {"gallery": gallery_hash(table), "ranks": hash_file(folder / RANKS)}
    write_json(folder / METRICS, {"schema": SCHEMA, **metrics, "inputs": inputs})
    return folder


@pytest.fixture
def results(tmp_path):
    return store(tmp_path / "results")


def bytes_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_metrics_file_holds_every_count(results):
    """Recalls equal a plain loop over the stored rows; intervals lie around them; n is the number of queries."""
    content, table = read_json(results / METRICS), pd.read_parquet(results / RANKS)
    assert content["variant"] == "five" and set(content["variants"]) == {"all", "folds"}
    assert content["bootstrap"] == {"unit": "image", "resamples": 10_000, "seed": 0, "level": 0.95}
    for name, part in {"five": content, **content["variants"]}.items():
        rows = [row for row in table.itertuples() if row.variant == name]
        for key, column in (("metrics", "rank"), ("pessimistic", "rank_pessimistic")):
            for way in ("t2i", "i2t"):
                ranks = [getattr(row, column) for row in rows if row.direction == way]
                for k in (1, 5, 10):
                    assert part[key][way][f"R@{k}"] == 100 * sum(rank <= k for rank in ranks) / len(ranks)
        captions = [row for row in rows if row.direction == "i2t_strict"]
        images = {row.image for row in captions}
        shares = [np.mean([row.rank <= 5 for row in captions if row.image == image]) for image in images]
        assert part["metrics"]["i2t_strict"]["R@5"] == pytest.approx(100 * np.mean(shares))
        assert part["n"] == {"images": 20, "captions": len(captions)}
        assert part["ties"]["t2i"] == sum(row.rank != row.rank_pessimistic for row in rows if row.direction == "t2i")
        for way, recalls in part["metrics"].items():
            for key, (low, high) in part["ci95"][way].items():
                assert low <= recalls[key] <= high
    assert content["ties"]["t2i"] > 0 and content["n"]["captions"] < content["variants"]["all"]["n"]["captions"]


def test_stored_ranks_count_as_they_did(results, capsys):
    before, began = bytes_of(results), time.process_time()
    assert main(["score", str(results)]) == 0
    assert time.process_time() - began < 10
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 3 * 3 and bytes_of(results) == before
    recalls = read_json(results / METRICS)["metrics"]["t2i"]
    shown = [f"{recalls[key]:.2f}" for key in ("R@1", "R@5", "R@10")]
    assert lines[1].split() == [str(results / METRICS), "five*", "t2i", "R@1", "R@5", "R@10", *shown, *shown]


@pytest.mark.parametrize("change", ["a recall", "a rank"])
def test_tampering_is_noticed_and_written_anew_on_request(results, change, capsys):
    if change == "a recall":
        content = read_json(results / METRICS)
        content["metrics"]["t2i"]["R@5"] += 1
        write_json(results / METRICS, content)
    else:
        table = pd.read_parquet(results / RANKS)
        table.loc[(table["variant"] == "five") & (table["direction"] == "t2i"), "rank"] = np.int32(1)
        table.to_parquet(results / RANKS, index=False)
    before = bytes_of(results)
    assert main(["score", str(results)]) == 1
    shown = capsys.readouterr()
    assert "1 of 1 metrics files do not match their ranks or answers" in shown.err
    assert f"{results / METRICS}: does not match its ranks: " in shown.out and "metrics" in shown.out
    assert bytes_of(results) == before
    assert main(["score", str(results), "--write"]) == 0
    assert main(["score", str(results)]) == 0


def edited(change):
    def edit(results):
        change(pd.read_parquet(results / RANKS)).to_parquet(results / RANKS, index=False)

    return edit


def renamed(table):
    return table.assign(**{name: table[name].str.replace("3", "300") for name in ("query", "image")})


def twice(table):
    """The table with its first row also in place of the second, so that the number of rows stays."""
    return table.loc[[0, 0, *range(2, len(table))]]


FAULTS = {
    "another gallery": (edited(renamed), "ranks in another gallery"),
    "another image": (
        edited(lambda table: table.assign(image=table["image"].where(table.index != 0, "1"))),
        r"set\.ranks\.parquet: its queries and images are not those of set\.json",
    ),
    "an id twice": (edited(twice), r"1 t2i queries occur more than once \(first: '0#0'\)"),
    "an item less": (edited(lambda table: table[1:]), "t2i ranks of variant 'five', but the dataset has"),
    "a variant less": (
        edited(lambda table: table[table["variant"] != "folds"]),
        "contains 0 t2i ranks of variant 'folds', but the dataset has",
    ),
    "a rank beyond the gallery": (
        edited(lambda table: table.assign(rank=table["rank"].where(table.index != 0, 21))),
        "t2i rank of '0#0' is not between 1 and 20",
    ),
    "a rank that is no number": (
        edited(lambda table: table.assign(rank=table["rank"].where(table.index != 0))),
        "column 'rank' must contain whole numbers only",
    ),
    "another direction": (
        edited(lambda table: table.assign(direction=table["direction"].replace("i2t", "tr"))),
        "contains 0 i2t ranks of variant 'five', but the dataset has 20 queries",
    ),
    "another caption": (
        edited(lambda table: table.assign(query=table["query"].where(table.index != 0, "99#0"))),
        "ranks in another gallery",
    ),
    "no ranks against the query": (
        edited(lambda table: table.drop(columns="rank_pessimistic")),
        "no column 'rank_pessimistic'",
    ),
    "no table": (
        lambda results: (results / RANKS).write_bytes(b"PAR1"),
        r"set\.ranks\.parquet: not a readable parquet file",
    ),
    "no ranks at all": (
        lambda results: (results / RANKS).unlink(),
        r"set\.ranks\.parquet: does not exist, although set\.json needs it",
    ),
    "no metrics": (lambda results: (results / METRICS).unlink(), r"set\.json: does not exist, although set\.ranks"),
    "an older schema": (
        lambda results: write_json(results / METRICS, read_json(results / METRICS) | {"schema": 2}),
        "schema 2, not 3: written by a version before 0.2.0",
    ),
    "no hash": (
        lambda results: write_json(results / METRICS, read_json(results / METRICS) | {"inputs": {}}),
        "key 'gallery' is missing",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_message_and_nothing_is_written(results, fault, capsys):
    spoil, message = FAULTS[fault]
    spoil(results)
    before = bytes_of(results)
    assert main(["score", str(results), "--write"]) == 1
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1
    assert bytes_of(results) == before


def test_runs_behind_a_link_are_counted_again_and_a_link_to_nothing_is_named(results, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/run").symlink_to(results / "run")
    assert main(["score", str(tmp_path / "other")]) == 0
    assert "other/run/retrieval/set.json" in capsys.readouterr().out
    (tmp_path / "other/gone").symlink_to("nowhere")
    assert main(["score", str(tmp_path / "other")]) == 1
    assert f"{tmp_path}/other/gone: a link to nothing; repair it, or remove it" in capsys.readouterr().err
