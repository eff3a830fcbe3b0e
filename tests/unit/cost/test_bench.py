"""The bench: it compares equal work, reports what each variant computes, and refuses variants that learn otherwise."""

import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from conftest import MINI
from oracles import compare_with_the_whole_sequence, sharpen
from slq.cli import main
from slq.common.errors import SlqError
from slq.config.cost_settings import train_step_settings
from slq.config.loading import validate_config
from slq.cost.architecture import read_architecture
from slq.cost.bench.random_inputs import build_random_backbone, make_coco_like_batches
from slq.cost.bench.train_step import add_ratios, check_agreement
from slq.cost.bench.variants import SLQ_VARIANTS, build_variants
from slq.cost.flops import total_flops
from slq.models.retriever import LatentQueryRetriever
from slq.models.whole_sequence import WholeSequenceRetriever

METHOD_VARIANTS = ("full_ft", "lora")


@pytest.fixture(params=MINI)
def shaped(request, raw_config, tmp_path):
    """Function that builds variants by name on a family's mini shape, with sharp attention; batches of six, padded."""
    settings = train_step_settings(validate_config(raw_config), request.param, 6, "float32")
    backbone = sharpen(build_random_backbone(settings, "cpu", seed=1))
    batches = make_coco_like_batches(backbone, 6, 3, settings["pixels"], settings["prompt_overhead_tokens"], seed=1)

    def make(names, **changes):
        found = build_variants(backbone, batches, settings | changes, names, tmp_path)
        return {variant.name: variant for variant in found}

    make.architecture = read_architecture(settings["architecture"] | {"vocab_size": 0})
    make.backbone, make.batches = backbone, batches
    return make


@pytest.mark.parametrize("queries", [1, 8, 20, 40])
@pytest.mark.parametrize("micro_batch_size", [6, 4])
def test_every_way_to_keep_prefixes_learns_what_the_released_algorithm_does(shaped, queries, micro_batch_size):
    found = check_agreement(
        list(shaped(SLQ_VARIANTS, queries=queries, micro_batch_size=micro_batch_size).values()), "float32"
    )
    assert found.keys() == set(SLQ_VARIANTS)
    assert max(apart for one in found.values() for apart in one.values()) < 1e-5


def test_captions_differ_in_length(shaped):
    assert len({len(pair.text.ids) for batch in shaped.batches for pair in batch}) > 3


def test_residents_go_on_to_the_next_captions(shaped):
    """The second and third steps equal steps on the same captions with the images encoded again."""
    made = shaped(["none", "batch"])
    _, *others = made["batch"].read_batches()
    assert all(pair.image is None for batch in others for pair in batch) and len(others) == 2
    assert [pair.text for pair in others[1]] == [pair.text for pair in shaped.batches[2]]


def test_another_gradient_is_refused(shaped):
    made = shaped(["reference", "none"])
    with torch.no_grad():
        made["none"].retriever.queries.data = made["none"].retriever.queries + 0.01  # in separate memory
    with pytest.raises(SlqError, match="none and reference: relative differences are"):
        check_agreement(list(made.values()), "float32")


def test_the_released_retriever_is_ours_in_one_sequence(shaped):
    """The tests' own oracle is an independent implementation of the same sequence."""
    queries = torch.randn(5, shaped.backbone.hidden_size, generator=torch.Generator().manual_seed(0))
    batch = [pair.image for pair in shaped.batches[0]] + [pair.text for pair in shaped.batches[0]]
    shaped.backbone.tokenizer.unk_token = "<pad>"
    for kind in (WholeSequenceRetriever, LatentQueryRetriever):
        compare_with_the_whole_sequence(kind(shaped.backbone, queries), batch)


@pytest.mark.parametrize("name", [*SLQ_VARIANTS, *METHOD_VARIANTS])
def test_the_flops_of_each_are_what_torch_counts(shaped, name):
    """The tolerance covers padding, and norms and similar operations, which weigh more in a model as small as this."""
    variant = shaped([name])[name]
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        variant.take_steps()
    assert total_flops(variant.compute_flops(shaped.architecture)) == pytest.approx(counter.get_total_flops(), rel=0.2)


def test_ratios_are_to_the_released_way_and_hours_of_all_pairs():
    """Half the seconds is a speed-up of two; 7,200 pairs at one per second take two hours."""
    rows = [
        {"variant": "reference", "seconds": 4.0, "pairs_per_second": 1.0, "saved_bytes": 8},
        {"variant": "kv", "seconds": 2.0, "pairs_per_second": 2.0, "saved_bytes": 2},
    ]
    reference, kv = add_ratios(rows, 7200)
    assert (reference["speedup"], reference["saved_ratio"], reference["hours"]) == (1.0, 1.0, 2.0)
    assert (kv["speedup"], kv["saved_ratio"], kv["hours"]) == (2.0, 0.25, 1.0)


@pytest.mark.parametrize("name", MINI)
def test_the_command_prints_rows_and_keeps_them(name, tmp_path, capsys):
    asked = ["--preset", "mini", "--backbone", name, "--repeats", "1", "--folder", str(tmp_path)]
    assert main(["bench", *asked, "--json", str(tmp_path / "steps.json")]) == 0
    found = json.loads((tmp_path / "steps.json").read_text())
    rows = {row["variant"]: row for row in found["rows"]}
    assert list(rows) == [*SLQ_VARIANTS, *METHOD_VARIANTS]
    assert all(row["seconds"] > 0 and row["saved_bytes"] > 0 and row["flops"] > 0 for row in rows.values())
    assert rows["kv"]["flops"] < rows["batch"]["flops"] < rows["none"]["flops"] < rows["reference"]["flops"]
    assert rows["kv"]["saved_bytes"] < rows["reference"]["saved_bytes"] / 2
    assert rows["reference"]["speedup"] == 1 and rows["kv"]["mfu"] is None
    printed = capsys.readouterr().out
    assert all(variant in printed for variant in rows) and max(map(len, printed.splitlines())) <= 130
    assert not list(tmp_path.glob("tmp*"))


def test_a_backbone_that_is_not_there_is_named(capsys):
    assert main(["bench", "--backbone", "InternVL3-2B"]) == 1
    assert "--backbone InternVL3-2B: not under `backbones`; expected one of mini-internvl" in capsys.readouterr().err


def test_a_backbone_without_sizes_is_named(raw_config):
    raw_config["backbones"]["InternVL3-1B"].pop("architecture")
    with pytest.raises(SlqError, match=r"backbones\.InternVL3-1B\.architecture is missing; a benchmark needs"):
        build_random_backbone(
            train_step_settings(validate_config(raw_config | {"preset": "paper"}), "InternVL3-1B", 1, "float32"),
            "cpu",
            1,
        )
