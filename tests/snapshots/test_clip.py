"""CLIP with the real vocabulary: ids against OpenAI's own tokenizer, pixels against transformers' processor."""

import json

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from slq.models.dual_encoder import DualEncoder
from slq.preflight.checks import OK
from slq.preflight.snapshot_checks import check_small_files
from snapshots.clip_ids import STORED, TEXTS, load_openai_tokenizer, openai_ids

NAME = "CLIP-ViT-B-32"
IDS = json.loads(STORED.read_text())
# OpenAI's tokenizer takes these names in a user's text for its control tokens; here they are text, as everywhere.
SPELLED = "<|startoftext|>"


@pytest.fixture(scope="module")
def encoder(made):
    """Loaded with the two `position_ids` that the released weights hold and the class no longer has."""
    return DualEncoder.load(made(NAME))


@pytest.mark.parametrize("row", IDS, ids=range(len(IDS)))
def test_ids_are_those_of_the_original_tokenizer(encoder, row):
    inputs = encoder.tokenize_texts([row["text"], "x " * 99])
    ids = inputs["input_ids"][0][inputs["attention_mask"][0].bool()].tolist()
    assert (ids == row["ids"]) == (SPELLED not in row["text"])


def test_the_stored_ids_are_the_original_tokenizers():
    """Where its package is installed: pip install --no-deps clip-anytorch==2.6.0"""
    tokenizer = load_openai_tokenizer()
    if tokenizer is None:
        pytest.skip("clip-anytorch is not installed: pip install --no-deps clip-anytorch==2.6.0")
    assert [row["text"] for row in IDS] == TEXTS
    assert [openai_ids(tokenizer, row["text"]) for row in IDS] == [row["ids"] for row in IDS]


@pytest.mark.parametrize("size", [(640, 480), (224, 224), (50, 700)], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])
def test_pixels_are_those_of_the_processor(small, encoder, size, mode):
    image = Image.radial_gradient("L").resize(size).convert("RGB").convert(mode)
    processor = AutoProcessor.from_pretrained(small(NAME), backend="pil")
    theirs = processor(images=[image], return_tensors="pt")["pixel_values"]
    assert torch.equal(encoder.preprocess_images([image.convert("RGB")]), theirs)


def test_the_checks_of_fetch_small_pass(small, paper):
    (finding,) = check_small_files(paper, "encoders", NAME, small(NAME))
    assert finding.severity == OK and "151.3 M weights, 0.6 GB; texts of 77 tokens" in finding.message


def test_texts_and_images_are_embedded_as_by_the_class(encoder):
    """Unit vectors of a batch with padding, of texts that are truncated among others."""
    texts = ["a red circle", "a very long caption of many words " * 20]
    vectors = encoder.encode_texts(texts)
    alone = torch.cat([encoder.encode_texts([text]) for text in texts])
    assert vectors.shape == (2, 512) and (vectors - alone).abs().max() < 1e-5
    images = encoder.encode_images([Image.radial_gradient("L").convert("RGB"), Image.new("RGB", (30, 40), "red")])
    assert images.shape == (2, 512) and (images[0] - images[1]).abs().max() > 1e-3
