"""A whole small run of each method on two layers of real models, by the jobs of the workflow, and its export."""

import json
import math
from copy import deepcopy

import numpy as np
import pytest
import torch

from asjob import run_job
from oracles import RED, WIDE
from slq.common.files import read_json
from slq.config import job_settings
from slq.cost.architecture import read_architecture
from slq.evaluation.metrics_files import read_scored_answers
from slq.evaluation.retrieval import load_run
from slq.export.folder import export_run, load_export
from slq.export.trained_run import find_run
from slq.methods.registry import find_method
from slq.models.prefix import tokenize_message
from slq.synthetic.datasets import draw_split
from snapshots.made import make

DIVISORS = {"InternVL3-1B": 2, "Qwen3-VL-2B": 4}  # of widths: full fine-tuning holds 16 bytes for each weight
METHODS = ("slq", "lora", "full_ft")
RETENTION = ("mini-realworldqa",)  # with the benchmark's limits on images
SIZES = {  # what is small of the paper preset; all else is as it stands
    "training": {
        "epochs": 1,
        "caption_sampling": "random_one",
        "batch_size": 4,
        "micro_batch_size": 2,
        "num_workers": 0,
    },
    "evaluation": {"batch_size": 4, "generation_batch_size": 2, "max_new_tokens": 3, "equivalence_items": 2},
}
DATASETS = {
    "train_dataset": "mini-coco",
    "retrieval_datasets": ["mini-coco"],
    "retention_datasets": list(RETENTION),
    "knowledge_datasets": [],
}


class Workshop:
    """Scratch, data and results of one backbone, laid out as the workflow leaves them."""

    def __init__(self, root, paper, name, snapshot):
        self.root, self.name = root, name
        self.config = deepcopy(paper) | {"scratch": str(root / "scratch")}
        preset = self.config["presets"]["paper"]
        preset |= DATASETS
        for key, values in SIZES.items():
            preset[key] |= values
        for method in METHODS:
            preset["hyperparameters"][method] |= {"warmup_steps": 1, "learning_rate": 0.001}
        self.config["datasets"]["mini-coco"] |= {"variants": {"all": {}}, "table_variant": "all"}
        self.config["datasets"]["mini-coco"]["synthetic"]["scenes"] = {"train": 8, "val": 4, "test": 4}
        for dataset in RETENTION:
            self.config["datasets"][dataset]["synthetic"]["scenes"] = {"test": 1}
        self.data, self.backbone = root / "scratch/data", root / "scratch/backbones" / name
        self.backbone.parent.mkdir(parents=True)
        self.backbone.symlink_to(snapshot)
        splits = [("mini-coco", one) for one in ("train", "val", "test")] + [(one, "test") for one in RETENTION]
        for dataset, split in splits:
            settings = job_settings.synthetic_split_settings(self.config, dataset, split)
            draw_split(settings, self.data / dataset / split)

    def paths(self, method):
        """The folders of a run: of its results, and of its adapter."""
        run = f"paper/{self.name}/{method}/seed{0 if method == 'base' else 1}"
        return self.root / "results" / run, self.root / "scratch/runs" / run

    def run(self, method):
        """Train, or register base, and evaluate retrieval."""
        results, adapter = self.paths(method)
        shared = {"backbone_folder": self.backbone, "adapter_folder": adapter}
        settings = job_settings.train_settings(self.config, self.name, method)
        if method == "base":
            settings = settings | {"hyperparameters": {}}
            assert run_job("register_base", settings=settings, **shared, run_file=results / "run.json") == 0
        else:
            values = {"seed": 1, "train_dataset": "mini-coco"}
            files = {"run_file": results / "run.json", "events_file": results / "events/train.jsonl"}
            paths = shared | files | {"data": self.data, "work_folder": self.root / "work", "cache_manifest": None}
            assert run_job("train", settings=settings, values=values, **paths) == 0
        self.evaluate("retrieval", method, job_settings.retrieval_settings(self.config, self.name))

    def evaluate(self, job, method, settings, **more):
        results, adapter = self.paths(method)
        paths = {"backbone_folder": self.backbone, "adapter_folder": adapter, "data": self.data}
        out = {"out": results / ("retrieval" if job == "retrieval" else "retention")}
        events = {"events_file": results / f"events/{job}.jsonl"}
        rule = job if job == "check_equivalence" else f"evaluate_{job}"
        assert run_job(rule, settings=settings, **paths, **out, **events, **more) == 0


@pytest.fixture(scope="module", params=DIVISORS)
def workshop(request, paper, small, tmp_path_factory):
    folder, name = tmp_path_factory.mktemp("workshop"), request.param
    workshop = Workshop(folder, paper, name, make(small(name), folder / "snapshot", DIVISORS[name]))
    for method in ("base", *METHODS):
        workshop.run(method)
    return workshop


def architecture(workshop):
    """Of the two layers."""
    return read_architecture(read_json(workshop.backbone / "config.json"))


@pytest.mark.parametrize("method", METHODS)
def test_a_run_trains_what_the_forecast_counts_and_is_evaluated(workshop, method):
    results, _ = workshop.paths(method)
    record, metrics = read_json(results / "run.json"), read_json(results / "retrieval/mini-coco.json")
    hyperparameters = job_settings.train_settings(workshop.config, workshop.name, method)["hyperparameters"]
    expected = find_method(method).plan(hyperparameters, architecture(workshop).text).num_trainable
    assert math.isclose(record["parameters"]["trainable"], expected, rel_tol=1e-3)
    assert (record["weights"]["before"] == record["weights"]["after"]) == (method != "full_ft")
    assert "t2i" in json.dumps(metrics)
    losses = [json.loads(line) for line in (results / "events/train.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in losses if "loss" in line]
    assert losses and all(math.isfinite(loss) for loss in losses)


def test_trained_runs_embed_otherwise_than_base_and_images_differ(workshop):
    vectors = {}
    for method in ("base", *METHODS):
        _, adapter = workshop.paths(method)
        settings = job_settings.train_settings(workshop.config, workshop.name, method)
        backbone, retriever = load_run(settings, workshop.backbone, adapter)
        parts = [("a red circle",), (backbone.family.process(RED),), (backbone.family.process(WIDE),)]
        with torch.inference_mode():
            vectors[method] = torch.cat([retriever.embed([tokenize_message(backbone, one)]) for one in parts]).float()
    for method in METHODS:
        assert (vectors[method] - vectors["base"]).abs().max() > 1e-3, method
        assert (vectors[method][1] - vectors[method][2]).abs().max() > 1e-3, method


def test_slq_answers_as_base(workshop):
    settings = job_settings.retention_settings(workshop.config, workshop.name)
    results, _ = workshop.paths("base")
    shared = {"answer_hashes_file": workshop.root / "answers.json"}
    workshop.evaluate("retention", "base", settings, **shared, work=workshop.root / "work")
    settings = job_settings.equivalence_settings(workshop.config, workshop.name)
    workshop.evaluate("check_equivalence", "slq", settings, **shared, base_folder=results / "retention")
    for name in RETENTION:
        base = read_scored_answers(results / "retention" / f"{name}.json")
        inheriting = workshop.paths("slq")[0] / "retention" / f"{name}.json"
        assert read_json(inheriting)["equivalence_check"]["items"] == 2
        assert read_scored_answers(inheriting) == base


@pytest.mark.parametrize("method", METHODS)
def test_an_export_embeds_as_the_run(workshop, tmp_path, method):
    """`export_run` compares texts and images itself; loaded again the same vectors come."""
    run = find_run(workshop.paths(method)[0], workshop.config)
    export_run(run, workshop.config, tmp_path / "export")
    model = load_export(tmp_path / "export", [workshop.backbone])
    vectors = model.encode(["a red circle", "a blue square"])
    backbone, retriever = load_run(run.settings, run.snapshot, run.adapter_folder)
    messages = [tokenize_message(backbone, (text,)) for text in ("a red circle", "a blue square")]
    with torch.inference_mode():
        expected = torch.cat([retriever.embed([one]) for one in messages]).float().numpy()
    assert np.abs(vectors - expected).max() < 1e-2
    if method == "slq":
        assert sum(path.stat().st_size for path in (tmp_path / "export").glob("*.safetensors")) < 1e6
