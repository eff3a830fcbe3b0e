# ruff: noqa: RUF001
"""Ids, image tokens and pixels of the package against transformers' own processors, for every real tokenizer."""

from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageOps
from transformers import AutoConfig

from slq.datasets.image_conversion import as_rgb
from slq.models.backbone import load_processors
from slq.models.families import load_family
from slq.models.families.internvl import PADDING_COLOR
from slq.models.turn import Prompt, TextTokenizer
from snapshots.theirs import same_pixels, their_inputs, their_processor

CHAT = ("InternVL3-1B", "InternVL3-8B", "Qwen3-VL-2B", "Qwen3-VL-4B")
SIZES = [(640, 480), (333, 500), (448, 448), (64, 48), (1300, 70), (97, 1011), (2000, 1500), (28, 29)]
MODES = ["RGB", "L", "1", "P", "CMYK", "YCbCr"]
TEXTS = [
    "a red circle",
    "",
    "  two  blanks, a tab\t and\na line  ",
    "“Curly” & ‘quotes’ – 50 % of ünïcödé, 日本語, ｆｕｌｌ",
    "an emoji 🤷🏽‍♀️ and a mojibake â€œ",
    "word " * 700,
]


class Model:
    """A backbone without its model."""

    def __init__(self, folder, family):
        processor, tokenizer = load_processors(folder)
        config = AutoConfig.from_pretrained(folder)
        self.rows = config.get_text_config().vocab_size
        self.text_tokenizer, self.family = TextTokenizer(tokenizer), load_family(family, config, processor)
        self.theirs = their_processor(folder, family)

    def ids(self, *parts, template=None):
        return self.text_tokenizer.tokenize_turn(self.family, parts, self.rows, template)


@pytest.fixture(scope="module")
def model(small, paper):
    @cache
    def load(name):
        return Model(small(name), paper["backbones"][name]["family"])

    return load


def drawn(size, mode="RGB"):
    """An image whose pixels all differ from their neighbours'."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    levels = np.stack([rows * 7 + columns * 3, rows * 5 - columns, columns * 11], -1) % 256
    return Image.fromarray(levels.astype("uint8")).convert(mode)


def theirs_of(model, image):
    """The image as the processor of the snapshot is given it, with its options: InternVL's is a padded square."""
    if model.family.placeholder != "<IMG_CONTEXT>":
        return image, {}
    return ImageOps.pad(image, (max(image.size),) * 2, color=PADDING_COLOR), {"crop_to_patches": False}


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_ids_of_a_text(model, name, text):
    theirs = their_inputs(model(name).theirs, [text])
    assert model(name).ids(text) == theirs["input_ids"][0].tolist()


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_ids_and_pixels_of_an_image_with_and_without_a_text(model, name, size):
    image, one = drawn(size), model(name)
    ours = one.family.process(image)
    given, options = theirs_of(one, image)
    for texts in ([], ["what is in the picture?"]):
        theirs = their_inputs(one.theirs, [given, *texts], **options)
        ids = one.ids(ours, *texts)
        assert ids == theirs["input_ids"][0].tolist()
        assert ids.count(one.family.config.image_token_id) == ours.num_tokens
        same_pixels(ours.tensors, theirs)


@pytest.mark.parametrize("name", CHAT)
def test_two_images_around_a_text(model, name):
    one, images = model(name), [drawn((320, 200)), drawn((200, 320))]
    ours = [one.family.process(image) for image in images]
    given = [theirs_of(one, image)[0] for image in images]
    theirs = their_inputs(one.theirs, ["from", given[0], "to", given[1], "?"], **theirs_of(one, images[0])[1])
    assert one.ids("from", ours[0], "to", ours[1], "?") == theirs["input_ids"][0].tolist()


@pytest.mark.parametrize("name", ("InternVL3-1B", "Qwen3-VL-2B"))
@pytest.mark.parametrize("mode", MODES)
def test_modes_without_transparency_are_converted_as_theirs(model, name, mode):
    image, one = drawn((120, 90), mode), model(name)
    given, options = theirs_of(one, image.convert("RGB") if name.startswith("Intern") else image)
    same_pixels(one.family.process(as_rgb(image)).tensors, their_inputs(one.theirs, [given], **options))


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("benchmark", ["mmmu", "realworldqa", "ocrbench"])
@pytest.mark.parametrize("size", SIZES[:5], ids=str)
def test_images_of_questions_are_cut_and_scaled_as_theirs(model, paper, name, benchmark, size):
    """With the limits that config.yaml gives the benchmark."""
    one, image, limits = model(name), drawn(size), dict(paper["backbones"][name]["retention_images"][benchmark])
    (ours,) = one.family.process_question_images([image], **limits)
    if name.startswith("Intern"):
        factor = limits.get("enlarge", 1)
        image = image.resize((factor * image.width, factor * image.height), Image.Resampling.BILINEAR)
        options = {"crop_to_patches": True, "max_patches": limits["max_tiles"]}
    else:
        default = one.theirs.image_processor.size
        shortest = limits.get("min_pixels", default["shortest_edge"])
        options = {
            "size": {"shortest_edge": shortest, "longest_edge": limits.get("max_pixels", default["longest_edge"])}
        }
    theirs = their_inputs(one.theirs, [image, "Which?"], **options)
    assert one.ids(ours, "Which?") == theirs["input_ids"][0].tolist()
    same_pixels(ours.tensors, theirs)


@pytest.mark.parametrize("name", CHAT)
def test_prompts_of_the_paper_preset(model, paper, name):
    """A user's text and the prompt around it are one text to the template."""
    one, image = model(name), drawn((320, 240))
    ours, (given, options) = one.family.process(image), theirs_of(one, image)
    text, rerank = "a dog & a “cat”", paper["presets"]["paper"]["rerank"]
    prompts = [rerank["match_prompt"], rerank["choice_prompt"].replace("{options}", "1. {text}\n2. a cow")]
    for prompt in prompts:
        theirs = their_inputs(one.theirs, [given, prompt.replace("{text}", text)], **options)
        assert one.ids(ours, Prompt(prompt, "{text}", text)) == theirs["input_ids"][0].tolist()
    for readout in ("one_word", "one_word_query"):
        instructions = paper["readouts"][readout]["instructions"]["t2i"]
        theirs = their_inputs(one.theirs, [instructions["text"].replace("{text}", text)])
        assert one.ids(Prompt(instructions["text"], "{text}", text)) == theirs["input_ids"][0].tolist()
        after = instructions["image"].removeprefix("{image}")
        theirs = their_inputs(one.theirs, [given, after], **options)
        assert one.ids(ours, Prompt(after)) == theirs["input_ids"][0].tolist()


@pytest.mark.parametrize("name", ("VLM2Vec", "E5-V"))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_read_outs_with_a_template_against_the_processor_of_llava_next(model, paper, name, size):
    """Texts, image tokens and pixels, with the first token that the tokenizer adds."""
    one, image = model(name), drawn(size)
    (readout,) = [entry["readout"] for entry in paper["baselines"].values() if entry.get("backbone") == name]
    readout = paper["readouts"][readout]
    square = readout.get("images", {}).get("square")
    ours = one.family.process(image, **readout.get("images", {}))
    given = image.resize((square, square)) if square else image
    for instructions in readout["instructions"].values():
        before, after = instructions["image"].split("{image}")
        theirs = their_inputs(one.theirs, [before, given, after], readout["template"])
        parts = [Prompt(before), ours, Prompt(after)]
        ids = one.ids(*[part for part in parts if part != Prompt("")], template=readout["template"])
        assert ids == theirs["input_ids"][0].tolist() and ids[0] == one.theirs.tokenizer.bos_token_id
        same_pixels(ours.tensors, theirs)
        for text in TEXTS:
            theirs = their_inputs(one.theirs, [instructions["text"].replace("{text}", text)], readout["template"])
            ids = one.ids(Prompt(instructions["text"], "{text}", text), template=readout["template"])
            assert ids == theirs["input_ids"][0].tolist()
