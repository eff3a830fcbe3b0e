"""Dual encoders: adapters compared with transformers' own features, and small encoders trained here."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipForImageTextRetrieval,
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
)

from asjob import run_job
from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.common.snapshots import snapshot_sha256
from slq.config import job_settings
from slq.datasets.splits import Split, read_split
from slq.evaluation.encode import embed_split_with_encoder
from slq.evaluation.reference_check import compute_split_recalls
from slq.jobs import pretrain_encoder
from slq.models.dual_encoder import DualEncoder, find_encoder_class
from slq.synthetic.datasets import draw_split
from slq.synthetic.encoders import build_contrastive_loss, build_encoder
from tinyblip import make_blip
from tinyclip import make_clip

TEXTS = ["a red circle", "on the left there is a green ring and on the right a blue square", "A Dog, (a cat)... it's!"]
PLAIN = [*TEXTS[:2], "a dog, a cat it's"]  # as BLIP's authors pass it to the tokenizer
MADE = ("mini-clip", "mini-blip")
FEW = {"steps": 80, "batch_size": 32}


@pytest.fixture(scope="module")
def images():
    """Pictures of noise, of several sizes and shapes."""
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (h, w, 3), np.uint8)) for h, w in [(56, 56), (40, 90), (128, 64)]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return make_blip(tmp_path_factory.mktemp("blip"))


def far_apart(vectors):
    """Whether no two of these unit vectors are close, so that a mistake would be seen."""
    return (vectors @ vectors.T - 2 * torch.eye(len(vectors))).max() < 0.99


def test_clip_is_its_own_features(clip, images):
    """The texts need no truncation (test_reference_check.py has those that do), in one padded batch and one by one."""
    model = CLIPModel.from_pretrained(clip).eval()
    tokenizer, processor = CLIPTokenizer.from_pretrained(clip), CLIPImageProcessorPil.from_pretrained(clip)
    encoder = DualEncoder.load(clip)
    with torch.no_grad():
        seen = [model.get_image_features(**processor(image, return_tensors="pt")).pooler_output for image in images]
        read = [model.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output for text in TEXTS]
    for found, expected in ((encoder.encode_images(images), seen), (encoder.encode_texts(TEXTS), read)):
        expected = torch.cat([vector / vector.norm() for vector in expected])
        assert far_apart(expected) and found.dtype == torch.float32
        assert (found - expected).abs().max() < 1e-5


def test_blip_is_its_own_similarity_without_the_matching_head(blip, images):
    model = BlipForImageTextRetrieval.from_pretrained(blip).eval()
    tokenizer, processor = BertTokenizer.from_pretrained(blip), BlipImageProcessorPil.from_pretrained(blip)
    encoder = DualEncoder.load(blip)
    seen, read = encoder.encode_images(images), encoder.encode_texts(TEXTS)
    assert far_apart(seen) and far_apart(read) and seen.dtype == read.dtype == torch.float32
    pixels = processor(images, return_tensors="pt")
    how = {"truncation": True, "max_length": 35, "return_tensors": "pt", "return_token_type_ids": False}
    batches = [tokenizer(PLAIN, padding=True, **how), *(tokenizer([text], **how) for text in PLAIN)]
    with torch.no_grad():
        together, *alone = (model(**batch, **pixels, use_itm_head=False).itm_score for batch in batches)
    assert batches[0]["attention_mask"].min() == 0, "a batch with padding"
    assert (seen @ read.T - together).abs().max() < 1e-5
    assert (seen @ read.T - torch.cat(alone, 1)).abs().max() < 1e-5
    one_by_one = torch.cat([encoder.encode_images([image]) for image in images])
    assert (seen - one_by_one).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("long", "kept"),
    [
        ("a " * 40, "a " * 30),  # words
        ("abc " * 30, "abc " * 11),  # tokens: 3 per word, 35 with start and end
        ("a.b! c", "a b c"),
        ("  Two\n  LINES ", "two lines"),
    ],
)
def test_blip_reads_as_much_as_its_authors_evaluation(blip, long, kept):
    encoder = DualEncoder.load(blip)
    found, expected = (encoder.tokenize_texts([text])["input_ids"] for text in (long, kept))
    assert found.shape[1] <= 35 and torch.equal(found, expected)


@pytest.mark.parametrize("which", ["clip", "blip"])
def test_a_caption_that_spells_a_control_token_is_read_to_its_end(request, which):
    """CLIP reads a text out at its first end token, so text behind a spelled end token would be ignored."""
    encoder = DualEncoder.load(request.getfixturevalue(which))
    control = encoder.tokenizer.all_special_ids
    for name in encoder.tokenizer.all_special_tokens:
        texts = [f"{form} {word}" for form in (name, name.upper(), f"a{name}b") for word in ("red", "blue")]
        assert far_apart(encoder.encode_texts(texts[:2]))
        for text in [*texts, f"{name} " * 60]:
            _, *inner, last = encoder.tokenize_texts([text])["input_ids"][0].tolist()
            assert not set(control) & set(inner) and last in control and len(inner) + 2 <= encoder.max_text_tokens
        padded = encoder.tokenize_texts([texts[0], "a"])
        assert padded["attention_mask"].sum(1).tolist() == [
            len(encoder.tokenize_texts([one])["input_ids"][0]) for one in (texts[0], "a")
        ]


def test_ids_of_other_captions_are_the_tokenizers_own(clip, blip):
    """Ids are compared in a batch, padded and truncated."""
    for folder in (clip, blip):
        encoder = DualEncoder.load(folder)
        texts = [*TEXTS, "", "<|end", "[SEP", "\u00e9 \u2028 \U0001f600 it's", "a " * 100]
        how = {"padding": True, "truncation": True, "max_length": encoder.max_text_tokens, "return_tensors": "pt"}
        expected = encoder.tokenizer([encoder.preprocess_text(text) for text in texts], padding_side="right", **how)
        for name, found in encoder.tokenize_texts(texts).items():
            assert torch.equal(found, expected[name])


def test_a_caption_with_a_word_that_has_no_embedding_names_its_item(clip, images, tmp_path):
    """The tokenizer has a token without an embedding; the message comes before an image is embedded."""
    encoder = DualEncoder.load(clip)
    encoder.tokenizer.add_tokens(["zebra"])
    encoder.encode_images = lambda _: pytest.fail("images were embedded first")
    items = [{"id": name, "image": "0.png", "captions": [f"a {name}"]} for name in ("ring", "zebra")]
    with pytest.raises(SlqError, match=r"^s: item 'zebra': the token 'zebra' has id (\d+) in a .* has only \1 rows"):
        embed_split_with_encoder(encoder, Split("s", items, tmp_path, ""), 2)


def test_a_model_without_adapter_is_named_with_those_that_have_one(clip, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((clip / name).read_bytes())
    write_json(tmp_path / "config.json", read_json(tmp_path / "config.json") | {"model_type": "siglip"})
    with pytest.raises(SlqError) as caught:
        DualEncoder.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: its model_type is 'siglip'")
    assert "expected one of blip, clip (" in str(caught.value)


def test_weights_that_do_not_fit_are_refused(blip, tmp_path):
    for path in blip.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", config | {"image_text_hidden_size": 8})
    with pytest.raises(SlqError, match=r"mismatched keys while loading the weights"):
        DualEncoder.load(tmp_path)


# ---- trained here ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Drawn scenes to train on, and others for validation."""
    folder = tmp_path_factory.mktemp("data")
    shared = {
        "dataset": "mini-coco",
        "hub_layout": None,
        "style": "filled",
        "words": "plain",
        "families": False,
        "seed": 7,
    }
    draw_split(shared | {"split": "train", "first": 0, "count": 96}, folder / "mini-coco" / "train")
    draw_split(shared | {"split": "val", "first": 96, "count": 40}, folder / "mini-coco" / "val")
    return folder


@pytest.fixture
def entry(raw_config):
    """Function that returns an encoder's settings as its rule passes them, with some of them changed."""
    return lambda name, **changes: job_settings.pretrain_encoder_settings(raw_config, name) | changes


@pytest.fixture(scope="module")
def made():
    """Snapshots of a few steps by name, each trained once."""
    return {}


@pytest.fixture(params=MADE)
def snapshot(request, made, entry, data, tmp_path_factory):
    if request.param not in made:
        made[request.param] = tmp_path_factory.mktemp(request.param)
        pretrain_encoder(entry(request.param, **FEW), data, None, made[request.param])
    return made[request.param]


def test_a_few_steps_are_better_than_none(snapshot, entry, data, tmp_path):
    """The pairs were not trained on, and the loaded encoder is the saved one."""
    name = read_json(snapshot / "manifest.json")["source"]["encoder"]
    split, untrained = read_split(data, "mini-coco", "val"), build_encoder(entry(name), tmp_path)

    @torch.no_grad()
    def loss(encoder):
        return build_contrastive_loss(encoder, split, 32, random.Random(1))(0)

    trained = DualEncoder.load(snapshot)
    assert type(trained) is type(untrained) is find_encoder_class(entry(name)["model"]["model_type"], name)
    assert loss(trained) < loss(untrained) - 0.2
    assert (
        compute_split_recalls(trained, split, 16)["t2i"]["R@10"]
        > 1.5 * compute_split_recalls(untrained, split, 16)["t2i"]["R@10"]
    )


def test_a_caption_has_its_vector_of_a_batch(snapshot, data):
    """Padding changes nothing, and a text has an end token: its last token is not a word."""
    encoder, split = DualEncoder.load(snapshot), read_split(data, "mini-coco", "val")
    captions = [text for item in split.items[:4] for text in item["captions"]]
    assert len({len(text.split()) for text in captions}) > 1
    one_by_one = torch.cat([encoder.encode_texts([text]) for text in captions])
    assert (encoder.encode_texts(captions) - one_by_one).abs().max() < 1e-5
    ids = encoder.tokenize_texts(captions[:1])["input_ids"][0].tolist()
    words = captions[0].split()
    assert encoder.tokenizer.convert_ids_to_tokens(ids) == ["<start>", *words, "<end>"]
    long = encoder.tokenize_texts([" ".join(["red"] * 100)])["input_ids"][0]
    assert (
        len(long) <= encoder.max_text_tokens and encoder.tokenizer.convert_ids_to_tokens(long.tolist())[-1] == "<end>"
    )


@pytest.mark.parametrize("name", MADE)
def test_the_same_settings_make_the_same_bytes_and_another_seed_others(name, entry, data, tmp_path):
    few = {"steps": 4, "batch_size": 32}  # more than an epoch of 96 images
    pretrain_encoder(entry(name, **few), data, None, tmp_path / "first")
    given = {"settings": entry(name, **few), "data": data, "shipped": None, "out": tmp_path / "again"}
    assert run_job("pretrain_encoder", "--threads", "1", **given) == 0
    assert snapshot_sha256(tmp_path / "again") == snapshot_sha256(tmp_path / "first")
    pretrain_encoder(entry(name, **few, seed=8), data, None, tmp_path / "other")
    weights = [(tmp_path / folder / "model.safetensors").read_bytes() for folder in ("first", "other")]
    assert weights[0] != weights[1]


def test_a_batch_shows_no_image_twice(entry, data, tmp_path, monkeypatch):
    """Two captions of one image would be negatives of each other."""
    encoder, split = build_encoder(entry("mini-clip"), tmp_path), read_split(data, "mini-coco", "train")
    loss_at = build_contrastive_loss(encoder, split, len(split.items), random.Random(0))
    pixels = encoder.preprocess_images([split.open(item["image"]) for item in split.items])
    seen = []
    monkeypatch.setattr(encoder, "image_features", lambda batch: seen.append(batch) or torch.eye(len(batch), 64))
    loss_at(0)
    assert len({row.numpy().tobytes() for row in seen[0]}) == len({row.numpy().tobytes() for row in pixels}) == 96


def test_a_batch_of_more_images_than_there_are_is_told(entry, data, tmp_path):
    with pytest.raises(
        SlqError, match=r"pretrain.batch_size is 97, but the training split of mini-coco has only 96 images"
    ):
        pretrain_encoder(entry("mini-clip", batch_size=97), data, None, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_a_key_that_the_class_does_not_have_is_named(entry, tmp_path):
    wrong = entry("mini-blip")
    wrong["model"]["vision_config"]["hiden_size"] = 64
    with pytest.raises(SlqError, match=r"pretrain.model.vision_config.hiden_size is not a key of BlipVisionConfig"):
        build_encoder(wrong, tmp_path)


CLEANED = {
    "fish &amp;amp; chips\t &lt;b&gt;": "fish & chips <b>",
    "  \u201cCurly\u201d  it\u2019s ": '"curly" it\'s',
    "\uff46\uff55\uff4c\uff4c": "full",
    "sch\u00c3\u00b6n": "sch\u00f6n",
    "<|startoftext|>": "<|startoftext|>",
}


@pytest.mark.parametrize("text", CLEANED, ids=range(len(CLEANED)))
def test_clip_reads_a_text_as_its_authors_clean_it(text):
    """With ids of the released vocabulary: tests/snapshots/test_clip.py."""
    assert find_encoder_class("clip", "a test").preprocess_text(None, text) == CLEANED[text]
