"""The feature cache of images: equal training, equal bytes after a kill, and no undetected fault."""

import ctypes
import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from kills import Forked, kill_at
from slq.caching import build
from slq.caching.feature_cache import FeatureCache, open_feature_caches, shard_path
from slq.caching.shard import CorruptShard, Shard, write_shard
from slq.common.errors import SlqError
from slq.common.files import read_json, read_jsonl
from slq.config import job_settings
from slq.config.loading import validate_config
from slq.datasets.splits import read_split
from slq.methods.adapter import build_retriever
from slq.models.family import FEATURES
from slq.models.prefix import CachedPrefix, TokenizedMessage, tokenize_message
from slq.training.run import run_key
from together import pairs_of

PROMPT = {"text": "", "image": ""}
CACHED = ["features", "kv"]


# ---- the cache -------------------------------------------------------------------------------------------------------


class Filling:
    """The job `cache_features` on the slice's backbone and datasets."""

    def __init__(self, slice_, root, image_cache="kv", **changes):
        self.slice_, self.root = slice_, root
        raw = slice_.config
        raw["backbones"]["mini-internvl"]["runs"] = {"slq": {"training": {"image_cache": image_cache}}}
        self.settings = job_settings.feature_cache_settings(validate_config(raw), "mini-internvl", "slq") | changes
        self.manifest, self.events = root / "feature_cache.json", root / "feature_cache.jsonl"

    def __call__(self):
        paths = (self.slice_.snapshot, self.slice_.data, "mini-coco", self.root / "shards", self.manifest, self.events)
        build.build_feature_cache(self.settings, *paths, "code")
        return open_feature_caches(self.manifest)

    def shards(self):
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("shard-*")}


@pytest.fixture(scope="module", params=CACHED)
def filled(request, slice_, tmp_path_factory):
    filling = Filling(slice_, tmp_path_factory.mktemp(request.param), request.param)
    return filling, filling()


def test_a_store_holds_the_images_that_training_reads_and_no_test_image(filled, slice_):
    _, stores = filled
    assert stores.keys() == {"train", "val"}
    for part, store in stores.items():
        split = read_split(slice_.data, "mini-coco", part)
        assert sum(map(len, store.shards)) == len(split.items)


def test_training_from_a_store_is_the_same_training(filled, slice_):
    """Losses agree to rounding at every step, and the cache's states are those that training reads."""
    filling, _ = filled
    image_cache = filling.settings["image_cache"]
    slice_.train("slq", f"before_{image_cache}")
    slice_.train("slq", f"from_{image_cache}", {"image_cache": image_cache}, filling.manifest)
    anew, stored = (
        read_jsonl(slice_.root / name / "events.jsonl") for name in (f"before_{image_cache}", f"from_{image_cache}")
    )
    losses = [[line["loss"] for line in lines if line["event"] == "step"] for lines in (anew, stored)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    states = {state for line in stored if line["event"] == "step" for state in line["token_counts"]}
    assert states == {"text", {"features": "features", "kv": "kv"}[image_cache]}
    run = read_json(slice_.root / f"from_{image_cache}" / "run.json")
    assert run["spans"]["feature_cache"] > 0


def test_validation_reads_the_store_too(filled, slice_, monkeypatch):
    _, stores = filled
    backbone, retriever = slice_.load("slq")
    split = read_split(slice_.data, "mini-coco", "val")
    from slq.evaluation.encode import embed_split

    fresh = embed_split(retriever, backbone, split, PROMPT, 16)[0]
    monkeypatch.setattr(type(split), "open", lambda *_: pytest.fail("an image was opened"))
    assert abs(embed_split(retriever, backbone, split, PROMPT, 16, stores["val"])[0] - fresh).max() < 1e-6


def test_a_message_from_a_store_is_what_it_says(filled, slice_):
    filling, stores = filled
    backbone, _ = slice_.load("slq")
    found = stores["train"].load_message(backbone, 5, "")
    if filling.settings["image_cache"] == "kv":
        assert isinstance(found, CachedPrefix) and found.num_image_tokens == 9
    else:
        assert isinstance(found, TokenizedMessage) and found.images[0].tensors.keys() == {FEATURES}


def test_another_number_of_queries_rate_or_epochs_reads_the_same_store(slice_):
    raw = slice_.config
    raw["backbones"]["mini-internvl"]["runs"] = {"slq": {"training": {"image_cache": "kv"}}}
    before = job_settings.feature_cache_settings(validate_config(raw), "mini-internvl", "slq")
    raw["presets"]["mini"]["hyperparameters"]["slq"] |= {"queries": 3, "learning_rate": 0.5}
    raw["presets"]["mini"]["training"]["epochs"] = 9
    assert job_settings.feature_cache_settings(validate_config(raw), "mini-internvl", "slq") == before
    raw["presets"]["mini"]["dtype"] = "bfloat16"
    assert job_settings.feature_cache_settings(validate_config(raw), "mini-internvl", "slq") != before


def test_the_store_is_there_for_a_second_job_whose_events_count_nothing(filled):
    filling, _ = filled
    before = {path: os.stat(filling.root / path).st_mtime_ns for path in filling.shards()}
    seconds = read_json(filling.manifest)["seconds"]
    filling()
    assert {path: os.stat(filling.root / path).st_mtime_ns for path in filling.shards()} == before
    assert read_json(filling.manifest)["seconds"] == seconds > 0


def test_a_corrupt_shard_is_named_and_made_again_on_demand(filled, capsys):
    filling, _ = filled
    whole = filling.shards()
    path = next(path for path in sorted(whole) if "train" in path)
    data = bytearray(whole[path])
    data[len(data) // 2] ^= 16
    (filling.root / path).write_bytes(data)
    with pytest.raises(CorruptShard, match=Path(path).name):
        for shard in open_feature_caches(filling.manifest)["train"].shards:
            shard.verify()
    filling()
    assert f"rebuilding a corrupt shard: {filling.root / path}" in capsys.readouterr().err
    assert filling.shards() == whole


def test_killed_at_twenty_moments_it_ends_in_the_same_bytes(slice_, tmp_path):
    """Among forty-odd shards, kills fall before a shard is complete, while it is written, and after it."""
    whole = Filling(slice_, tmp_path / "whole", batch_size=3)
    whole()
    killed = Filling(slice_, tmp_path / "killed", batch_size=3)
    count, kills = len(whole.shards()), 0
    for number in range(20):
        wanted = 1 + number * (count - 2) // 20
        process = Forked(killed, tmp_path / "log")
        seen = lambda wanted=wanted: len(list(killed.root.rglob("*shard-*"))) >= wanted  # noqa: E731
        kills += kill_at(process, seen)
        assert not killed.manifest.exists()
    assert kills == 20
    killed()
    assert killed.shards() == whole.shards()
    assert not list(killed.root.rglob(".shard*.tmp"))


def test_two_jobs_fill_it_one_after_the_other(slice_, tmp_path):
    first, second = Filling(slice_, tmp_path, batch_size=3), Filling(slice_, tmp_path, batch_size=3)
    second.manifest = tmp_path / "second.json"
    processes = [Forked(one, tmp_path / f"log{number}") for number, one in enumerate((first, second))]
    assert [process.wait() for process in processes] == [0, 0]
    assert read_json(first.manifest)["shards"] == read_json(second.manifest)["shards"]
    steps = [line["step"] for line in read_jsonl(second.events) if line["event"] == "step"]
    assert len(steps) == len(set(steps)) == len(second.shards())


def test_a_store_that_does_not_fit_stops_before_anything_is_written(slice_, tmp_path, monkeypatch):
    filling = Filling(slice_, tmp_path)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(SlqError, match=r"training\.image_cache kv needs 0\.0 GB more.*set `scratch` to a larger disk"):
        filling()
    assert not filling.shards() and not filling.manifest.exists()
    build.require_disk_space(tmp_path, "kv", 900)


def test_a_run_that_is_to_read_a_store_must_be_told_where(slice_):
    with pytest.raises(
        SlqError,
        match=r"training\.image_cache is kv, .*the rule `cache_features` .* path of its manifest",
    ):
        slice_.train("slq", "nowhere", {"image_cache": "kv"})


# ---- runs and their caches -------------------------------------------------------------------------------------------


def test_only_another_order_is_another_run():
    keys = {
        image_cache: run_key({"method": "slq", "training": {"image_cache": image_cache}}, 1, {}, "code")
        for image_cache in ("none", "features", "kv", "batch")
    }
    assert len({keys[image_cache] for image_cache in ("none", "features", "kv")}) == 1
    assert keys["batch"] != keys["kv"]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (
            {"lora": {"training": {"image_cache": "kv"}}},
            r"'kv' for lora on mini-internvl, which trains parameters that this cache depends on",
        ),
        ({"full_ft": {"training": {"image_cache": "batch"}}}, r"'batch' for full_ft .*backbones\.mini-internvl\.runs"),
        (
            {"slq": {"training": {"image_cache": "batch", "caption_sampling": "random_one"}}},
            r"with caption_sampling random_one, an epoch shows each image only once",
        ),
        ({"slq": {"training": {"image_cache": "kvs"}}}, r"did you mean 'kv'\?"),
        (
            {"slq": {"training": {"image_cache": "auto"}}},
            r"image_cache is 'auto'; expected: none, features, batch, kv$",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(raw_config, runs, expected):
    raw_config["backbones"]["mini-internvl"]["runs"] = runs
    with pytest.raises(SlqError, match=expected):
        validate_config(raw_config)


@pytest.mark.parametrize("method", ["lora", "full_ft"])
def test_features_serve_the_other_methods_too(slice_, tmp_path, method):
    filling = Filling(slice_, tmp_path, "features", method=method)
    stores = filling()
    backbone, _ = slice_.load("base")
    retriever = build_retriever(method, backbone, {"rank": 2, "alpha": 4, "dropout": 0.0}, 1)
    split = read_split(slice_.data, "mini-coco", "train")
    anew, kept = (pairs_of(backbone, split, PROMPT, feature_cache=store) for store in (None, stores["train"]))
    with torch.no_grad():
        vectors = [retriever.embed([pairs[number].image for number in (0, 9, 40)]) for pairs in (anew, kept)]
    assert (vectors[0] - vectors[1]).abs().max() < 1e-6


# ---- at the paper's size ---------------------------------------------------------------------------------------------


def resident_bytes():
    """Count the memory that the process itself holds.

    Pages of mapped shards are not counted, because the kernel reclaims them at need. Freed memory that the allocator
    keeps is returned to the system first. In a process that did other work before, it would include holes too small for
    the next shard (3.6 GB once).
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_a_hundred_times_as_many_prefixes_take_no_longer_and_no_more_memory(slice_, tmp_path):
    """Pairs are drawn from 1,000, 10,000 and 100,000 images (2.5 GB); each is read and used in a step."""
    backbone, retriever = slice_.load("slq")
    each, batch, draw = 100, 64, np.random.default_rng(0)
    captions = [item["captions"][0] for item in read_split(slice_.data, "mini-coco", "train").items[:batch]]
    texts = [tokenize_message(backbone, (caption,)) for caption in captions]
    shape = (16, 3, 2, 2, 32)
    shards, found = [], {}

    def step(images):
        vectors = retriever.embed(images), retriever.embed(texts)
        (vectors[0] @ vectors[1].T).logsumexp(1).sum().backward()

    for count in (1_000, 10_000, 100_000):
        while len(shards) * each < count:
            path = shard_path(tmp_path, "train", len(shards))
            values = torch.randn(each, *shape).unbind()
            rest = torch.tensor(9), torch.arange(16).int()[:, None]
            names = ("key_values", "num_image_tokens", "position_ids")
            images = [dict(zip(names, (one, *(part.clone() for part in rest)), strict=True)) for one in values]
            write_shard(path, images)
            shards.append(Shard(path))
        store = FeatureCache("kv", shards, each)
        seconds = []
        for _ in range(40):
            start = time.perf_counter()
            step([store.load_message(backbone, int(number), "") for number in draw.integers(count, size=batch)])
            seconds.append((time.perf_counter() - start) / batch)
        found[count] = (min(seconds), resident_bytes())
    print({count: (f"{1e3 * took:.3f} ms", f"{memory / 1e6:.0f} MB") for count, (took, memory) in found.items()})
    times, memory = zip(*found.values(), strict=True)
    assert max(times) < 2 * min(times), "whoever else uses the machine"
    assert memory[-1] - memory[0] < 60e6, "an index of a hundred bytes an image, and no image"
