"""The closed form of FLOPs compared with torch's counter on the real shapes of 1B and 2B, and its parameters."""

from dataclasses import replace
from typing import Any

import pytest

from counting import BACKBONES, SHAPES, counted, make_case
from oracles import whole_sequence
from slq.common.errors import SlqError
from slq.cost.architecture import read_architecture
from slq.cost.flops import TokenTotals, embed_flops, train_flops
from slq.methods.adapter import build_retriever
from slq.methods.registry import find_method
from slq.training.execution import enable_gradient_checkpointing

HYPERPARAMETERS = {
    "slq": {"queries": 20, "init": "normal"},
    "lora": {"rank": 8, "alpha": 16, "dropout": 0.0},
    "full_ft": {},
    "base": {},
    "lora_queries": {"rank": 8, "alpha": 16, "dropout": 0.0, "queries": 20, "init": "normal"},
    "linear_head": {},
}


@pytest.fixture(scope="module", params=SHAPES)
def case(request):
    return make_case(request.param)


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_the_closed_form_is_what_torch_counts(case, method):
    retriever = build_retriever(method, case.backbone(), HYPERPARAMETERS[method], seed=0)
    seen, attention = counted(retriever.embed, case.batches)
    assert attention > 0
    assert case.closed(train_flops, case.plan(method, HYPERPARAMETERS[method])) == pytest.approx(seen, rel=0.001)


@pytest.mark.parametrize("method", HYPERPARAMETERS)
def test_two_passes_too(case, method):
    retriever = build_retriever(method, case.backbone(), HYPERPARAMETERS[method], seed=0)
    trained = retriever.trainable_parameters()

    def twice(batch):
        looked = retriever.encode_prefix(batch)
        for wanted in (False, True):  # torch's counter fails under no_grad
            for parameter in trained:
                parameter.requires_grad_(wanted)
            vectors = retriever.embed_from_prefix(looked)
        return vectors

    seen, _ = counted(twice, case.batches)
    assert case.closed(train_flops, case.plan(method, HYPERPARAMETERS[method], num_forward_passes=2)) == pytest.approx(
        seen, rel=0.001
    )


@pytest.mark.parametrize("method", ["lora", "full_ft", "lora_queries", "linear_head"])
def test_layers_that_run_again_too(case, method):
    """The tower runs once and without a backward; the closed form neglects the recomputation of LoRA's own maps."""
    retriever = build_retriever(method, case.backbone(), HYPERPARAMETERS[method], seed=0)
    enable_gradient_checkpointing(retriever, method)
    seen, _ = counted(retriever.embed, case.batches)
    assert case.closed(train_flops, case.plan(method, HYPERPARAMETERS[method], checkpointing=True)) == pytest.approx(
        seen, rel=0.003
    )


def test_the_released_algorithm_too(case):
    retriever = build_retriever("slq", case.backbone(), HYPERPARAMETERS["slq"], seed=0)
    seen, _ = counted(lambda batch: whole_sequence(retriever, batch), case.batches)
    plan = case.plan("slq", HYPERPARAMETERS["slq"], whole_sequence=True)
    assert case.closed(train_flops, plan) == pytest.approx(seen, rel=0.001)


def test_embedding_is_the_forward_part(case):
    retriever = build_retriever("slq", case.backbone(), HYPERPARAMETERS["slq"], seed=0)
    retriever.queries.requires_grad_(False)
    seen, _ = counted(retriever.embed, case.batches)
    assert case.closed(embed_flops, case.plan("slq", HYPERPARAMETERS["slq"])) == pytest.approx(seen, rel=0.001)


@pytest.mark.parametrize(
    ("name", "text", "tower", "all_"),
    [  # counted on the meta device with transformers 5.23; towers with projectors
        ("InternVL3-1B", 493_798_016, 308_495_104, 938_193_024),
        ("InternVL3-8B", 7_069_221_376, 331_552_768, 7_944_373_760),
        ("Qwen3-VL-2B", 1_720_574_976, 406_957_056, 2_127_532_032),
        ("Qwen3-VL-4B", 4_022_468_096, 415_347_712, 4_437_815_808),
    ],
)
def test_sizes_in_the_configuration_are_the_papers_backbones(name, text, tower, all_):
    architecture = read_architecture(BACKBONES[name]["architecture"])
    assert architecture.text.num_parameters == pytest.approx(text, rel=1e-3)
    assert architecture.vision.num_parameters == pytest.approx(tower, rel=1e-2)
    assert architecture.num_parameters == pytest.approx(all_, rel=5e-3)


def test_what_each_part_depends_on():
    architecture = read_architecture(BACKBONES["InternVL3-1B"]["architecture"])
    work = TokenTotals.of_equal_length(3, 266, 256) + TokenTotals.of_equal_length(3, 20)

    def flops(method: str, **changes: Any) -> dict[str, float]:
        return train_flops(
            architecture, replace(find_method(method).plan(HYPERPARAMETERS[method], architecture.text), **changes), work
        )

    once, stored = flops("slq"), flops("slq", prefix_share=0.2)
    assert {part: stored[part] / once[part] for part in ("vision", "projector", "prefix")} == pytest.approx(
        {"vision": 0.2, "projector": 0.2, "prefix": 0.2}
    )
    assert (stored["queries"], stored["backward"]) == (once["queries"], once["backward"])
    assert flops("lora", prefix_share=0.2) == flops("lora")
    assert flops("lora", vision_share=0.5)["vision"] == flops("lora")["vision"] / 2
    for method in ("slq", "lora", "full_ft"):
        assert flops(method)["recompute"] == 0 < flops(method, num_forward_passes=2)["recompute"]
    assert flops("base")["backward"] == 0
    assert train_flops(architecture, find_method("full_ft").plan({}, architecture.text), work + work) == pytest.approx(
        {part: 2 * value for part, value in flops("full_ft").items()}
    )


def test_another_architecture_has_no_closed_form():
    with pytest.raises(SlqError, match="model_type 'llava': no closed form"):
        read_architecture({"model_type": "llava"})
    with pytest.raises(SlqError, match="architecture with model_type qwen3_vl: size hidden_size is missing"):
        read_architecture({"model_type": "qwen3_vl", "text_config": {}})
