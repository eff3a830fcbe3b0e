"""The baselines: which exist, and what the job that evaluates one writes."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from asjob import run_job
from sliced import BACKBONE
from slq.baselines.encode import compute_rank_table, load_encoders
from slq.common.errors import SlqError
from slq.common.files import read_json, read_jsonl
from slq.common.snapshots import snapshot_sha256
from slq.config.baseline_settings import baseline_inputs, baseline_settings
from slq.config.job_settings import datasets_with_variants, list_baselines
from slq.config.loading import validate_config
from slq.datasets.splits import read_split
from slq.evaluation.encode import embed_split
from slq.evaluation.rank_table import RetrievalIds, RetrievalVariant, build_variant_table
from slq.models.retriever import LastTokenRetriever, LatentQueryRetriever

BARE = {"text": "{text}", "image": "{image}"}
WORDY = {"text": "where is the {text}", "image": "{image}\nwhat shape is red ?"}


@pytest.fixture
def rowed(raw_config):
    """The mini preset with one row of each kind on each backbone, and a comparator that runs a backbone."""
    preset = raw_config["presets"]["mini"]
    raw_config["readouts"]["wordy"] = {
        "label": "in words",
        "queries": 0,
        "instructions": {"t2i": dict(WORDY), "i2t": BARE},
    }
    raw_config["baselines"] |= {
        "stand-in": {
            **{"kind": "comparator", "label": "Stand-in", "paper_row": "E5-V-7B"},
            **{"backbone": BACKBONE, "readout": "wordy", "trained_on": "synthetic scenes"},
        },
        "wordy": {"kind": "zero_shot", "readout": "wordy"},
        "again": {"kind": "rerank", "first_stage": "stand-in", "reranker": "base"},
    }
    preset["baselines"] = ["stand-in", "zero_queries", "slq.by.base", "wordy", "again"]
    return raw_config


def test_rows_stand_in_the_tables_order(rowed):
    """Rows of one kind are together, in the preset's order on each backbone."""
    found = {row.name: row for row in list_baselines(validate_config(rowed))}
    assert list(found) == [
        "stand-in",
        *("mini-internvl.zero_queries", "mini-internvl.wordy", "mini-qwen3vl.zero_queries", "mini-qwen3vl.wordy"),
        *("mini-internvl.slq.by.base", "mini-internvl.again", "mini-qwen3vl.slq.by.base", "mini-qwen3vl.again"),
    ]
    assert found["stand-in"].paper_row == "E5-V-7B"
    assert found["mini-internvl.wordy"].label == "InternVL-mini, in words"
    assert found["mini-internvl.again"].label == "Stand-in, re-ranked by Base (InternVL-mini)"
    assert found["mini-internvl.again"].trained_on == "synthetic scenes"


def test_rows_need_what_they_are_evaluated_with(rowed):
    config = validate_config(rowed | {"seeds": [3, 1]})
    assert baseline_inputs(config, "stand-in") == {"model": f"backbones/{BACKBONE}/manifest.json"}
    assert baseline_inputs(config, "mini-qwen3vl.slq.by.base") == {
        "first_stage": "runs/mini/mini-qwen3vl/slq/seed3/adapter.json",
        "reranker": "runs/mini/mini-qwen3vl/base/seed0/adapter.json",
        "backbone": "backbones/mini-qwen3vl/manifest.json",
    }
    assert baseline_inputs(config, "mini-qwen3vl.again")["first_stage"] == f"backbones/{BACKBONE}/manifest.json"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("presets", "mini", "baselines"), ["clip"], r"presets.mini.baselines\[0\] is 'clip', which is not under"),
        (("baselines", "wordy", "readout"), "first", r"baselines.wordy.readout is 'first', which is not under"),
        (("baselines", "wordy", "kind"), "zero", r"baselines.wordy.kind is 'zero'; did you mean 'zero_shot'\?"),
        (("baselines", "wordy", "kind"), None, r"baselines.wordy.kind is empty; .*comparator, rerank, zero_shot"),
        (("baselines", "wordy", "label"), "Wordy", r"baselines.wordy.label is not a key here"),
        (("baselines", "wordy"), {"readout": "wordy"}, r"baselines.wordy.kind is missing"),
        (("baselines", "again", "first_stage"), "clip", r"baselines.again.first_stage is 'clip', which is not under"),
        (
            ("baselines", "again", "first_stage"),
            "wordy",
            r"baselines.again.first_stage is 'wordy'; expected a method of the preset mini, or a comparator",
        ),
        (
            ("presets", "mini", "methods"),
            ["base", "lora"],
            r"baselines.slq.by.base.first_stage is 'slq', which is not in presets.mini.methods",
        ),
        (("comparators",), {}, "comparators is not a key here; since version 0.2.0 it is 'baselines'"),
        (
            ("presets", "mini", "comparators"),
            [],
            "comparators is not a key here; since version 0.2.0 it is 'baselines'",
        ),
        (("presets", "mini", "zero_shot"), [], "zero_shot is not a key here; since version 0.2.0 it is 'baselines'"),
        (("presets", "mini", "rerank", "baselines"), [], r"rerank.baselines was replaced in version 0.2.0 by entries"),
        (
            ("presets", "mini", "rerank", "match_prompt"),
            "is it ?",
            r"presets.mini.rerank.match_prompt must contain \{text\}",
        ),
        (
            ("presets", "mini", "rerank", "choice_prompt"),
            "which ?",
            r"presets.mini.rerank.choice_prompt must contain \{options\}",
        ),
        (
            ("baselines", "stand-in", "encoder"),
            "CLIP-ViT-B-32",
            "exactly one of encoder, backbone; found enc",
        ),
        (
            ("baselines", "stand-in", "backbone"),
            "other",
            "stand-in.backbone is 'other', which is not",
        ),
        (("baselines", "stand-in", "readout"), "other", "stand-in.readout is 'other', which is not"),
        (("readouts", "wordy", "instructions", "t2i", "text"), "{image}", "readouts.wordy.instructions.t2i.text is"),
    ],
)
def test_a_fault_is_named_by_its_key(rowed, path, value, message):
    place = rowed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(SlqError, match=message):
        validate_config(rowed)


# ---- the job ---------------------------------------------------------------------------------------------------------


def readout(queries, t2i=BARE, i2t=BARE):
    return {"queries": queries, "instructions": {"t2i": t2i, "i2t": i2t}}


def encoders(slice_, how):
    settings = slice_.settings("base")
    model = {"backbone": BACKBONE, "readout": how} | {key: settings[key] for key in ("family", "dtype")}
    return load_encoders(model, slice_.snapshot)


def retrieved(slice_, tmp_path, row):
    """Folder that the job `evaluate_baseline` writes for a row on the slice's backbone.

    The snapshot contains an adapter.json, a file name that our adapters use too.
    """
    out = tmp_path / "row"
    snapshot = shutil.copytree(slice_.snapshot, tmp_path / "snapshot")
    (snapshot / "adapter.json").write_text("{}")
    config = slice_.config
    config["presets"]["mini"]["baselines"] = [row]
    settings = baseline_settings(config, f"{BACKBONE}.{row}")
    paths = {
        "inputs": {"model": snapshot / "manifest.json"},
        "data": slice_.tests,
        "work": tmp_path / "work",
        "out": out,
    }
    assert run_job("evaluate_baseline", "--threads", "1", settings=settings, **paths) == 0
    return out


@pytest.fixture(scope="module")
def tested(slice_):
    """The slice with the test split of every retrieval dataset."""
    from slq.config import job_settings
    from slq.synthetic.datasets import draw_split

    for entry in datasets_with_variants(slice_.config):
        folder = slice_.tests / entry["name"] / "test"
        if not folder.exists():
            draw_split(job_settings.synthetic_split_settings(slice_.config, entry["name"], "test"), folder)
    return slice_


def test_a_row_is_measured_as_a_run_is(tested, tmp_path):
    """Ranks equal those of the untrained read-out, embedded as in a run; the work folder keeps only events."""
    out = retrieved(tested, tmp_path, "zero_queries")
    backbone, _ = tested.load("base")
    retriever = LatentQueryRetriever(backbone, torch.zeros(1, backbone.hidden_size))
    for entry in datasets_with_variants(tested.config):
        split = read_split(tested.tests, entry["name"], "test")
        images, texts, numbers = embed_split(retriever, backbone, split, {"text": "", "image": ""}, 16)
        names = RetrievalIds([item["id"] for item in split.items], split.caption_ids, numbers)
        expected = pd.concat(
            [build_variant_table(names, images, texts, numbers, RetrievalVariant(**one)) for one in entry["variants"]]
        )
        found = pd.read_parquet(out / "retrieval" / f"{entry['name']}.ranks.parquet")
        pd.testing.assert_frame_equal(found, expected.reset_index(drop=True))
        metrics = read_json(out / "retrieval" / f"{entry['name']}.json")
        assert metrics["schema"] == 3 and metrics["inputs"].keys() == {
            "model",
            "dataset",
            "settings",
            "gallery",
            "ranks",
        }
        assert metrics["inputs"]["model"] == snapshot_sha256(tested.snapshot)
    row = read_json(out / "baseline.json")
    assert (row["baseline"], row["kind"]) == (f"{BACKBONE}.zero_queries", "zero_shot")
    assert row["settings"]["model"]["readout"]["queries"] == 1
    spans = [line["name"] for line in read_jsonl(out / "events" / "retrieval.jsonl") if line["event"] == "span"]
    assert spans == ["init", *["eval"] * len(datasets_with_variants(tested.config))]


def test_the_bare_last_token_is_base(slice_):
    backbone, _ = slice_.load("base")
    split = read_split(slice_.data, "mini-coco", "val")
    images, texts, _ = embed_split(LastTokenRetriever(backbone), backbone, split, BARE_PROMPT, 100)
    found = encoders(slice_, readout(0))["t2i"]
    ours = found.encode_images([split.open(item["image"]) for item in split.items]).numpy()
    assert abs(ours - images).max() < 1e-6
    said = found.encode_texts([text for item in split.items for text in item["captions"]]).numpy()
    assert abs(said - texts).max() < 1e-6


BARE_PROMPT = {"text": "", "image": ""}


def test_each_direction_goes_by_its_own_instruction(slice_):
    made = encoders(slice_, readout(0, WORDY, BARE))
    assert made["t2i"] is not made["i2t"]
    same = encoders(slice_, readout(0, WORDY, WORDY))
    assert same["t2i"] is same["i2t"]
    split = read_split(slice_.data, "mini-coco", "val")
    draw = np.random.default_rng(0)
    count = (len(split.items), sum(len(item["captions"]) for item in split.items))
    first, second = (tuple(unit(draw.normal(size=(n, 8))) for n in count) for _ in range(2))
    table = compute_rank_table(split, {"t2i": first, "i2t": second}, RetrievalVariant("all"))
    alone = [compute_rank_table(split, {"t2i": one, "i2t": one}, RetrievalVariant("all")) for one in (first, second)]
    searching = table["direction"] == "t2i"
    pd.testing.assert_frame_equal(table[searching], alone[0][searching])
    pd.testing.assert_frame_equal(table[~searching], alone[1][~searching])
    assert len(table) == len(split.caption_to_image) * 2 + len(split.items)


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
