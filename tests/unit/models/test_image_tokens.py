"""Tokens and pixels of questions' images, compared with transformers' own processors."""

import pytest
import torch
from PIL import Image
from transformers import InternVLProcessor

from answering import reply_tokens
from oracles import sharpen, untrained
from slq.datasets.splits import Split
from slq.evaluation.encode import embed_split
from slq.evaluation.generation import GenerationParams
from slq.methods.adapter import build_retriever
from slq.models.prefix import collate, message_parts, render_chat_template, tokenize_message

SIZES = [(56, 56), (200, 100), (100, 300), (640, 480), (30, 20), (448, 112)]


def pictures(sizes=SIZES):
    return [Image.effect_noise(size, 90).convert("RGB") for size in sizes]


def side(backbone):
    """Pixels along the side of a tile."""
    return backbone.family.image_processor.size.height


@pytest.fixture
def internvl(raw_config, tmp_path):
    """Untrained InternVL with positions for six pictures of thirteen tiles."""
    entry = raw_config["backbones"]["mini-internvl"]
    entry["pretrain"]["model"]["text_config"]["max_position_embeddings"] = 1024
    return sharpen(untrained("mini-internvl", entry, tmp_path))


@pytest.fixture
def qwen3vl(raw_config, tmp_path):
    return sharpen(untrained("mini-qwen3vl", raw_config["backbones"]["mini-qwen3vl"], tmp_path))


class NoVideos(InternVLProcessor):
    """transformers' processor without its video part, which needs torchvision; the rest is unchanged."""

    @classmethod
    def get_attributes(cls):
        return [name for name in super().get_attributes() if name != "video_processor"]


def stock(backbone):
    """transformers' processor over the same tokenizer and image processor."""
    tokenizer = backbone.tokenizer
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    for name, token in (names | {"video_token": "<video>"}).items():
        setattr(tokenizer, name, token)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(token))
    length = backbone.model.config.image_seq_length
    return NoVideos(backbone.family.image_processor, tokenizer, None, image_seq_length=length)


@pytest.mark.parametrize("most", [1, 2, 6, 12])
def test_internvls_tiles_are_those_of_its_own_processor(internvl, most):
    """Token ids and pixels agree for a question about six pictures with different tile counts, and about each alone."""
    processor, images = stock(internvl), pictures()
    for some in [images, *([image] for image in images)]:
        parts = tuple(internvl.family.process(image, max_tiles=most) for image in some)
        ours = collate(internvl, [tokenize_message(internvl, (*parts, "what color"))])
        content = [*({"type": "image"} for _ in some), {"type": "text", "text": "what color"}]
        text = internvl.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        theirs = processor(images=some, text=text, max_patches=most, add_special_tokens=False, return_tensors="pt")
        assert torch.equal(ours["input_ids"], theirs["input_ids"])
        assert torch.equal(ours["pixel_values"], theirs["pixel_values"])
    tokens = {internvl.family.process(image, most).num_tokens for image in images}
    assert (len(tokens) > 1) == (most > 1)


def test_internvls_enlarged_picture_is_cut_into_more_tiles(internvl):
    """If two grids fit the aspect ratio equally, the larger one is used where the picture fills half of it."""
    (image,) = pictures([(side(internvl),) * 2])
    length = internvl.model.config.image_seq_length
    tiles = [internvl.family.process(image, 12, enlarge).num_tokens // length for enlarge in (1, 2, 3)]
    assert tiles == [1, 1 + 4, 1 + 9]


def test_internvls_tiles_of_one_question_have_a_limit_in_all(internvl):
    """VLMEvalKit's rule is max(1, min(max_num, 64 // images)), the same for each image."""
    family, (image,) = internvl.family, pictures([(6 * side(internvl), 2 * side(internvl))])
    limits = {"max_tiles": 12, "all_tiles": 64}
    for number in (1, 5, 6, 7, 65):
        most = max(1, min(12, 64 // number))
        shown = family.process_question_images([image] * number, **limits)
        assert [part.num_tokens for part in shown] == [family.process(image, most).num_tokens] * number
    cut = [family.process(image, most).num_tokens // internvl.model.config.image_seq_length for most in (12, 10, 1)]
    assert cut == [12 + 1, 3 + 1, 1]
    assert family.process_question_images([], **limits) == []


def test_without_limits_internvl_sees_one_padded_square(internvl):
    image = Image.new("RGB", (80, 40), "red")
    whole = internvl.family.process(image)
    length = side(internvl)
    assert whole.num_tokens == internvl.model.config.image_seq_length
    assert whole.tensors["pixel_values"].shape == (1, 3, length, length)
    rows = whole.tensors["pixel_values"][0, 0].mean(1)
    assert rows[: length // 6].max() < rows[2 * length // 5 : 3 * length // 5].min(), "grey above, then the picture"


@pytest.mark.parametrize("limits", [(None, None), (4096, 4096), (16384, 65536), (None, 65536), (2048, None)])
def test_qwen3vls_pictures_are_those_of_its_image_processor(qwen3vl, limits):
    processor, images = qwen3vl.family.image_processor, pictures()
    own = processor.size
    size = {"shortest_edge": limits[0] or own.shortest_edge, "longest_edge": limits[1] or own.longest_edge}
    theirs = processor(images=images, size=size, return_tensors="pt")
    parts = [qwen3vl.family.process(image, *limits) for image in images]
    ours = collate(qwen3vl, [tokenize_message(qwen3vl, (*parts, "what color"))])
    for name in ("pixel_values", "image_grid_thw"):
        assert torch.equal(ours[name], theirs[name])
    tokens = (theirs["image_grid_thw"].prod(1) // 4).tolist()
    assert [part.num_tokens for part in parts] == tokens
    assert (ours["input_ids"] == qwen3vl.model.config.image_token_id).sum() == sum(tokens)


def test_a_limit_reaches_every_image_of_a_set(internvl, tmp_path, monkeypatch):
    """In a batch of pictures with different numbers of tiles, each question also gets its own reply."""
    for number, image in enumerate(pictures()):
        image.save(tmp_path / f"{number}.png")
    fields = {"question": "what color", "options": [], "answers": ["x"], "type": "open"}
    items = [{"id": str(number), "images": [f"{number}.png"], **fields} for number in range(len(SIZES))]
    split, asked = Split("s", items, tmp_path, ""), []
    process = internvl.family.process

    def spy(image, max_tiles=None, enlarge=1):
        asked.append((max_tiles, enlarge))
        return process(image, max_tiles, enlarge)

    monkeypatch.setattr(internvl.family, "process", spy)
    one, other = (reply_tokens(internvl, split, GenerationParams(6, size, {"max_tiles": 6})) for size in (6, 1))
    assert asked == [(6, 1)] * 2 * len(SIZES)
    assert one == other != reply_tokens(internvl, split, GenerationParams(6, 6))


@pytest.mark.parametrize("name", ["mini-internvl", "mini-qwen3vl"])
def test_an_instruction_stands_behind_the_content_and_reaches_the_vectors(raw_config, tmp_path, name):
    """`prompt` in config.yaml reaches the vectors, separately for captions and images."""
    backbone = sharpen(untrained(name, raw_config["backbones"][name], tmp_path))
    picture = backbone.family.process(Image.new("RGB", (30, 20), "red"))
    for content, mark in (("a red circle", "a red circle"), (picture, backbone.family.placeholder)):
        text = render_chat_template(backbone, message_parts(content, "in one word"))
        assert text.index(mark) < text.index("in one word")
        assert "in one word" not in render_chat_template(backbone, message_parts(content, ""))
    pictures()[0].save(tmp_path / "0.png")
    split = Split("s", [{"id": "0", "image": "0.png", "captions": ["a red circle"]}], tmp_path, "")
    retriever = build_retriever("base", backbone, {}, 0)
    vectors = {
        (text, image): embed_split(retriever, backbone, split, {"text": text, "image": image}, 4)[:2]
        for text in ("", "one")
        for image in ("", "what is this ?")
    }
    base = vectors["", ""]
    for (text, image), found in vectors.items():
        assert (abs(found[0] - base[0]).max() > 1e-4) == bool(image)
        assert (abs(found[1] - base[1]).max() > 1e-4) == bool(text)
