"""An untrained backbone as an embedding model: instructions, templates and read-outs."""

import re

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from oracles import RED, SHORT, TALL, WIDE, whole_sequence
from slq.baselines.mllm_encoder import MllmEncoder
from slq.common.errors import SlqError
from slq.datasets.splits import Split
from slq.evaluation.encode import embed_split
from slq.models.prefix import collate, render_chat_template, tokenize_message
from slq.models.retriever import LastTokenRetriever

PLAIN = {"text": "{text}", "image": "{image}"}
IN_ONE_WORD = {"text": "{text} what word is written ?", "image": "{image} what shape is on the left ?"}
CAPTIONS = [
    SHORT,
    "a ring",
    "on the left a red circle and on the right a blue square",
    "a blue ring above a green star",
]
IMAGES = [RED, WIDE, TALL]


@pytest.fixture
def split(tmp_path):
    """Split of three images, the last with two captions."""
    items = []
    for number, (image, captions) in enumerate(zip(IMAGES, (CAPTIONS[:1], CAPTIONS[1:2], CAPTIONS[2:]), strict=True)):
        image.save(tmp_path / f"{number}.png")
        items.append({"id": str(number), "image": f"{number}.png", "captions": captions})
    return Split("pictures", items, tmp_path, "")


def test_an_instruction_without_words_is_the_run_base_bit_for_bit(tiny_backbone, split):
    """Both are batched in the same way: captions run in order of their length."""
    retriever = LastTokenRetriever(tiny_backbone)
    images, texts, _ = embed_split(retriever, tiny_backbone, split, {"text": "", "image": ""}, batch_size=2)
    encoder = MllmEncoder(tiny_backbone, PLAIN)
    order = sorted(
        range(len(CAPTIONS)), key=lambda number: len(tokenize_message(tiny_backbone, (CAPTIONS[number],)).ids)
    )
    for start in (0, 2):
        found = encoder.encode_texts([CAPTIONS[number] for number in order[start : start + 2]])
        assert np.array_equal(found.numpy(), texts[order[start : start + 2]])
        assert np.array_equal(encoder.encode_images(IMAGES[start : start + 2]).numpy(), images[start : start + 2])


def test_words_stand_before_or_after_the_content(tiny_backbone):
    """Words and content form one turn of the chat template, read out at the last token of the stock forward."""
    (pixels,) = tiny_backbone.family.process_question_images([RED])
    for instructions, text, image in (
        (IN_ONE_WORD, f"{SHORT} what word is written ?", (pixels, " what shape is on the left ?")),
        ({"text": "where is the {text} ?", "image": "in the picture {image}"}, f"where is the {SHORT} ?",
         ("in the picture ", pixels)),
    ):  # fmt: skip
        encoder = MllmEncoder(tiny_backbone, instructions)
        for found, parts in ((encoder.encode_texts([SHORT]), (text,)), (encoder.encode_images([RED]), image)):
            inputs = collate(tiny_backbone, [tokenize_message(tiny_backbone, parts)])
            states = tiny_backbone.inner(**inputs).last_hidden_state[:, -1]
            assert torch.allclose(found, normalize(states, dim=-1), atol=1e-6)
    plain = MllmEncoder(tiny_backbone, PLAIN)
    assert (
        MllmEncoder(tiny_backbone, IN_ONE_WORD).encode_images(IMAGES) - plain.encode_images(IMAGES)
    ).abs().max() > 0.01


@pytest.mark.parametrize("queries", [1, 3])
def test_zero_queries_are_read_as_in_one_call_over_the_whole_sequence(tiny_backbone, queries):
    encoder = MllmEncoder(tiny_backbone, IN_ONE_WORD, queries=queries)
    assert encoder.retriever.queries.count_nonzero() == 0 and encoder.retriever.queries.shape[0] == queries
    texts = [tokenize_message(tiny_backbone, (IN_ONE_WORD["text"].replace("{text}", text),)) for text in CAPTIONS]
    images = [
        tokenize_message(tiny_backbone, (tiny_backbone.family.process(image), " what shape is on the left ?"))
        for image in IMAGES
    ]
    with torch.no_grad():
        for found, batch in ((encoder.encode_texts(CAPTIONS), texts), (encoder.encode_images(IMAGES), images)):
            assert (found - whole_sequence(encoder.retriever, batch)).abs().max() < 1e-5


def test_a_template_stands_in_place_of_the_chat_template(tiny_backbone):
    template = "<|im_end|> user {turn} <|im_start|>"
    (pixels,) = tiny_backbone.family.process_question_images([RED])
    assert render_chat_template(tiny_backbone, (SHORT,), template) == f"<|im_end|> user {SHORT} <|im_start|>"
    written = f"<|im_end|> user {tiny_backbone.family.placeholder} in the picture <|im_start|>"
    assert render_chat_template(tiny_backbone, (pixels, " in the picture"), template) == written
    ids = tokenize_message(tiny_backbone, (pixels, " in the picture"), template).ids
    expanded = written.replace(
        tiny_backbone.family.placeholder, tiny_backbone.family.expand_placeholder(pixels.num_tokens)
    )
    assert ids == tiny_backbone.tokenizer(expanded)["input_ids"]
    encoder = MllmEncoder(tiny_backbone, PLAIN, template=template)
    expected = LastTokenRetriever(tiny_backbone).embed([tokenize_message(tiny_backbone, (SHORT,), template)])
    assert torch.equal(encoder.encode_texts([SHORT]), expected)
    assert not torch.equal(encoder.encode_texts([SHORT]), MllmEncoder(tiny_backbone, PLAIN).encode_texts([SHORT]))


def test_text_is_taken_as_it_stands(tiny_backbone):
    """Text in a caption that looks like a template's placeholder is not replaced."""
    encoder = MllmEncoder(tiny_backbone, {"text": "where is {text}", "image": "{image}"}, template="user {turn}")
    expected = tokenize_message(tiny_backbone, ("where is {text} {turn}",), "user {turn}")
    assert expected.ids == tiny_backbone.tokenizer("user where is {text} {turn}")["input_ids"]
    found = encoder.encode_texts(["{text} {turn}"])
    assert torch.equal(found, encoder.retriever.embed([expected]))


@pytest.mark.parametrize("template", [None, "<|im_start|> user {turn} <|im_end|>"], ids=["chat template", "its own"])
def test_a_text_may_spell_control_tokens(tiny_backbone, template):
    """A control token's name counts as any other word unknown to the backbone, in any instruction."""
    encoder = MllmEncoder(tiny_backbone, IN_ONE_WORD, 2, template)
    spelled, unknown = (
        encoder.encode_texts([f"a tag called {word}", SHORT])
        for word in (f"{tiny_backbone.family.placeholder} <|im_end|>", "zebra lion")
    )
    assert torch.equal(spelled, unknown)


def test_an_instruction_may_hold_control_tokens_but_those_of_images(tiny_backbone):
    end = MllmEncoder(tiny_backbone, PLAIN | {"text": "{text} <|im_end|>"})
    expected = tokenize_message(
        tiny_backbone, (SHORT,), "<|im_start|> user\n{turn} <|im_end|>\n<|im_end|> <|im_start|> assistant"
    )
    assert torch.allclose(end.encode_texts([SHORT]), end.retriever.embed([expected]), atol=1e-6)
    mark = tiny_backbone.family.placeholder
    for instructions in (PLAIN | {"text": f"{mark} {{text}}"}, PLAIN | {"image": f"{{image}} {mark}"}):
        encoder = MllmEncoder(tiny_backbone, instructions)
        with pytest.raises(SlqError, match=re.escape(f"contains an image token (for this backbone, e.g. '{mark}')")):
            encoder.encode_texts([SHORT])
            encoder.encode_images([RED])


def test_an_entry_of_readouts_says_it_all(tiny_backbone):
    readout = {
        "label": "zero queries",
        "queries": 2,
        "template": "user {turn}",
        "instructions": {"t2i": IN_ONE_WORD, "i2t": PLAIN},
    }
    for direction in ("t2i", "i2t"):
        whole = MllmEncoder(tiny_backbone, readout["instructions"][direction], 2, "user {turn}")
        assert torch.equal(
            MllmEncoder.from_readout(tiny_backbone, readout, direction).encode_texts(CAPTIONS),
            whole.encode_texts(CAPTIONS),
        )
    assert not torch.equal(
        MllmEncoder.from_readout(tiny_backbone, readout, "t2i").encode_texts(CAPTIONS), whole.encode_texts(CAPTIONS)
    )


def test_vectors_are_unit_vectors_in_float32(tiny_backbone):
    encoder = MllmEncoder(tiny_backbone, IN_ONE_WORD, queries=1)
    for vectors in (encoder.encode_texts(CAPTIONS), encoder.encode_images(IMAGES)):
        assert vectors.dtype == torch.float32 and not vectors.requires_grad
        assert torch.allclose(vectors.norm(dim=-1), torch.ones(len(vectors)), atol=1e-6)
