"""Families that docs/backbones.md calls fit, built tiny from their real classes, and the messages for the others."""

import sys

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoModelForImageTextToText

import slq.models.families
from asking import asked, inference, read_truth
from exported import CONFIG, FIT, THIRD
from oracles import CASES, RED, SHORT, compare_with_the_whole_sequence, messages, sharpen, untrained, whole_sequence
from slq.baselines.next_token import build_pointwise_messages, score_next_tokens
from slq.common.errors import SlqError
from slq.methods.adapter import build_retriever
from slq.models.backbone import Backbone
from slq.models.prefix import collate, collate_cached_prefixes, prefill, split_prefix, tokenize_message
from slq.models.retriever import LatentQueryRetriever, initial_queries
from slq.synthetic.backbones import build_tokenizer
from slq.training.grad_cache import MicroBatches

TINY = yaml.safe_load((FIT / "backbones.yaml").read_text())
LORA = {"rank": 2, "alpha": 4, "dropout": 0.0}


@pytest.fixture(autouse=True, scope="module")
def adapters():
    """Test adapters, found beside the package's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slq.models.families, "__path__", [*slq.models.families.__path__, str(FIT), str(THIRD)])
        yield
    for path in FIT.glob("*.py"):
        sys.modules.pop(f"slq.models.families.{path.stem}", None)


def made(name, folder):
    return sharpen(untrained(name, CONFIG["backbones"][name], folder))


@pytest.fixture(params=TINY)
def backbone(request, tmp_path):
    return made(request.param, tmp_path)


def slq_on(backbone, count=4):
    return LatentQueryRetriever(
        backbone, initial_queries(count, backbone.hidden_size, "normal", torch.Generator().manual_seed(0))
    )


# ---- texts


@pytest.mark.parametrize("name", [*TINY, "mini-llava", "tiny-llava-next"])
def test_a_text_may_spell_every_control_token_of_a_family(name, tmp_path):
    """Control tokens' names count as unknown words: alone, in training, beside an image and in re-ranking."""
    backbone = made(name, tmp_path)
    pixels, retriever, read = backbone.family.process(RED), slq_on(backbone), read_truth(backbone)
    found = []
    for word in ("zebra", *backbone.tokenizer.all_special_tokens):
        text, retriever.queries.grad = f"a tag called {word}", None
        turns = [tokenize_message(backbone, parts) for parts in ((text,), (pixels, text), (SHORT,))]
        vectors = retriever.embed(turns)
        vectors[:, 0].sum().backward()
        candidates = build_pointwise_messages(backbone, pixels, "{text}\nis it ?", [text, SHORT])
        scores = score_next_tokens(backbone, [candidates], read, inference(2))
        found.append((vectors.detach(), retriever.queries.grad, scores))
        assert all(map(torch.equal, found[0], found[-1])), word


# ---- the oracle


@pytest.mark.parametrize("case", CASES)
def test_two_calls_equal_the_whole_sequence(backbone, case):
    """Each batch is read twice, with another batch in between."""
    compare_with_the_whole_sequence(
        slq_on(backbone), [tokenize_message(backbone, parts) for parts in messages(backbone, case)]
    )


def test_its_positions_are_the_stock_forwards(backbone):
    """Without padding, the stock forward with its own positions gives the same hidden states as the adapter."""
    inputs = collate(
        backbone, [tokenize_message(backbone, parts) for parts in messages(backbone, "text after image")[:1]]
    )
    with torch.no_grad():
        ours = backbone.inner(**inputs).last_hidden_state
        stock = backbone.inner(**{name: inputs[name] for name in inputs.keys() - {"position_ids"}}).last_hidden_state
    assert (ours - stock).abs().max() < 1e-5


def test_parts_of_a_batch_that_are_read_in_turn_keep_to_themselves(backbone):
    """The parts are read as in training: first the vectors of all parts, then the gradient of each."""
    retriever = slq_on(backbone)
    batch = [tokenize_message(backbone, parts) for parts in messages(backbone, "mixed")]
    side = MicroBatches(retriever, batch, micro_batch_size=2)
    with torch.no_grad():
        oracle = torch.cat([whole_sequence(retriever, [one]) for one in batch])
        assert (side.compute_embeddings((0,)) - oracle).abs().max() < 1e-5
    weights = torch.randn(len(batch), backbone.hidden_size, generator=torch.Generator().manual_seed(1))
    side.backward(weights, (0,))
    found, retriever.queries.grad = retriever.queries.grad.clone(), None
    (torch.cat([whole_sequence(retriever, [one]) for one in batch]) * weights).sum().backward()
    assert (found - retriever.queries.grad).norm() / retriever.queries.grad.norm() < 1e-4


def test_a_stored_prefix_is_read_as_the_one_that_ran(backbone):
    """A prefix stored in one batch is read in others with other padding, and may be longer than a sliding window."""
    retriever = slq_on(backbone)
    batch = [tokenize_message(backbone, parts) for parts in messages(backbone, "mixed")]
    with torch.no_grad():
        oracle = torch.cat([whole_sequence(retriever, [one]) for one in batch])
        kept = split_prefix(prefill(backbone, collate(backbone, batch)), [0] * len(batch))
        for some in ([0, 1, 2, 3, 4], [3, 0], [2], [4, 1, 0]):
            looked = retriever.encode_prefix([kept[row] for row in some])
            for _ in range(2):
                assert (retriever.embed_from_prefix(looked) - oracle[some]).abs().max() < 1e-5


def test_an_images_prefix_is_gone_on_from_by_each_of_its_texts(backbone):
    """Re-ranking gives the same scores with and without reuse of the prefix."""
    turns, read = asked(backbone), read_truth(backbone)
    found = [score_next_tokens(backbone, turns, read, inference(3, reuse_prefix=reuse)) for reuse in (True, False)]
    assert (found[0] - found[1]).abs().max() < 1e-5 and found[1].std(0).min() > 1e-5


@pytest.mark.parametrize("name", ["tiny-gemma3", "tiny-qwen2_5_vl", "tiny-glm4v", "tiny-smolvlm"])
def test_the_methods_that_fit_it_train_its_language_model(tmp_path, name):
    """Other methods are refused before training, with a message that names what the model lacks."""
    lacks = {
        "tiny-glm4v": {"lora": r"Glm4vFor\w+ has no gate_proj in model\.model\.language_model\.layers, .*; lora does"},
        "tiny-smolvlm": {
            "lora": r"SmolVLMFor\w+ has no q_proj in model.* lora does not support this model \(docs/backbones\.md\)",
            "full_ft": r"SmolVLMFor\w+ has no model\.model\.language_model, which full_ft trains; .* not support",
        },
    }
    for method, hyperparameters in (("lora", LORA), ("full_ft", {})):
        backbone = made(name, tmp_path)
        if message := lacks.get(name, {}).get(method):
            with pytest.raises(SlqError, match=message):
                build_retriever(method, backbone, hyperparameters, seed=0)
            continue
        retriever = build_retriever(method, backbone, hyperparameters, seed=0)
        retriever.embed([tokenize_message(backbone, parts) for parts in messages(backbone, "mixed")]).sum().backward()
        assert all(parameter.grad is not None for parameter in retriever.trainable_parameters())


# ---- what is refused


def test_layers_of_unequal_shapes_are_not_stored(tmp_path):
    """The message names the setting; it is not a shape error of torch."""
    backbone = made("tiny-gemma3", tmp_path)
    prefix = prefill(backbone, collate(backbone, [tokenize_message(backbone, messages(backbone, "one text")[0])]))
    layer = prefix.kv_cache.layers[1]
    layer.keys, layer.values = layer.keys[..., :8], layer.values[..., :8]
    with pytest.raises(SlqError, match=r"training\.image_cache is kv, .* has \(2, 8, 8\) and \(2, 8, 16\) .*use none"):
        split_prefix(prefix, [0])


def test_a_cache_whose_state_cannot_be_put_back_is_refused_by_name_before_anything_trains():
    """Most layers of Qwen3.5 are recurrent."""
    config = AutoConfig.for_model("qwen3_5")
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    tokenizer = build_tokenizer({"tokens": [], "ids": {}, "image": "<image>"})
    backbone = Backbone(model, tokenizer, None)
    with pytest.raises(
        SlqError, match=r"layers of the class LinearAttentionLayer, .* expected DynamicLayer or Dynamic"
    ):
        build_retriever("slq", backbone, {"queries": 4, "init": "zeros"}, seed=0)


def test_a_model_without_an_inner_one_is_refused_when_it_is_loaded(tmp_path):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model(
        "blip-2",
        vision_config=small | {"image_size": 28, "patch_size": 14},
        qformer_config=small | {"encoder_hidden_size": 16},
        text_config={"model_type": "opt", "vocab_size": 20, "word_embed_proj_dim": 16, "ffn_dim": 16, **small},
    )
    AutoModelForImageTextToText.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(
        SlqError, match=r"Blip2ForConditionalGeneration has no `model\.model`, the model without its LM head"
    ):
        Backbone.load(tmp_path, "internvl")


def test_an_unknown_method_does_not_train_in_silence(tiny_backbone):
    with pytest.raises(
        SlqError, match=r"no method 'prompts'; expected one of base, full_ft, linear_head, lora, lora_queries, slq"
    ):
        build_retriever("prompts", tiny_backbone, {"queries": 4}, seed=0)


# ---- inputs longer than the model's positions


def test_what_is_longer_than_the_positions_is_refused_wherever_it_is_embedded(tiny_backbone):
    """Retrieval and training: a caption, also with queries, alone and from a cache; re-ranking: a candidate's text."""
    limit = tiny_backbone.model.config.get_text_config().max_position_embeddings
    words = limit - 5  # tokens of the turn itself
    fits, long = (tokenize_message(tiny_backbone, (" ".join(["ring"] * count),)) for count in (words, words + 1))
    assert len(fits.ids) == limit
    base, slq = build_retriever("base", tiny_backbone, {}, 0), slq_on(tiny_backbone)
    with torch.no_grad():
        base.embed([fits])
        with pytest.raises(
            SlqError, match=rf"needs {limit + 1} positions, .* has {limit} .*shorten it; it begins 'user ri"
        ):
            base.embed([tokenize_message(tiny_backbone, messages(tiny_backbone, "one text")[0]), long])
        with pytest.raises(SlqError, match=rf"needs {limit + 4} positions"):
            slq.embed([fits])
        (kept,) = split_prefix(prefill(tiny_backbone, collate(tiny_backbone, [fits])), [0])
        assert collate_cached_prefixes(tiny_backbone, [kept]).attention_mask.all()
        with pytest.raises(SlqError, match=rf"a cached image with 4 tokens after it needs {limit + 4} positions"):
            slq.embed([kept])
    turns = asked(tiny_backbone)
    turns[0][1] = type(turns[0][1])([*turns[0][1].ids[:-1], *[turns[0][1].ids[-2]] * limit, turns[0][1].ids[-1]],
                                    turns[0][1].images)  # fmt: skip
    for reuse in (True, False):
        with pytest.raises(SlqError, match=r"needs \d+ positions"):
            score_next_tokens(tiny_backbone, turns, read_truth(tiny_backbone), inference(3, reuse_prefix=reuse))
