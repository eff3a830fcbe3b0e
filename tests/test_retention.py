"""Answers against a greedy loop written out, and the scorers' rules one by one."""

import pytest
import torch
from PIL import Image

from slq.data.prepared import Split
from slq.errors import SlqError
from slq.evaluation.retention import answer, choose, is_hit, question_parts, score, scorer
from slq.models.prefix import collate, encode
from slq.world.backbones import check_keys
from slq.world.sets import draw_split

FRUIT = ["apple", "banana", "cherry", "dragon fruit"]


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("**B**", "B"),
        ("The answer is B.", "B"),
        ("banana", "B"),
        ("It is the Banana", "B"),
        ("A or B", None),
        ("", None),
        ("I cannot tell.", None),
        ("apple and banana", None),
        ("B is what I would say of this", None),
        ("E", None),
    ],
)
def test_the_letter_that_a_reply_names(reply, letter):
    assert choose(reply, FRUIT) == letter


def item(answers, options=(), type_="open"):
    return {"id": "1", "answers": answers, "options": list(options), "type": type_}


@pytest.mark.parametrize(
    ("reference", "entry", "reply", "hit"),
    [
        ("realworldqa", item(["red"]), " Red. ", True),
        ("realworldqa", item(["red"]), "dark red", False),
        ("realworldqa", item(["red", "crimson"]), "crimson", True),
        ("mmmu", item(["B"], FRUIT, "multiple-choice"), "(B)", True),
        ("mmmu", item(["B"], FRUIT, "multiple-choice"), "no idea", False),
        ("ocrbench", item(["STOP"]), "The sign says stop.", True),
        ("ocrbench", item(["STOP"]), "s t o p", False),
        ("ocrbench", item(["x ^ 2"], (), "Handwritten Mathematical Expression Recognition"), "x^2", True),
        ("ocrbench", item(["X"], (), "Handwritten Mathematical Expression Recognition"), "x", False),
    ],
)
def test_what_counts_as_a_hit(reference, entry, reply, hit):
    assert is_hit(reference, entry, reply) == hit


def test_scores_are_percent_but_hits_for_ocrbench():
    items = [item(["red"]), item(["blue"])]
    answers = [{"id": "1", "answer": "red"}, {"id": "1", "answer": "green"}]
    assert score("realworldqa", items, answers) == {"score": 50.0}
    assert score("ocrbench", items, answers) == {"score": 1.0}
    assert scorer("ocrbench") != scorer("mmmu")


def ask(backbone, folder, question, *colours):
    """What the backbone is asked of a question with an image per colour."""
    for colour in colours:
        Image.new("RGB", (64, 64), colour).save(folder / f"{colour}.png")
    entry = item(["A"], ["left", "right"]) | {"images": [f"{colour}.png" for colour in colours], "question": question}
    return question_parts(backbone, Split("s", [entry], folder, ""), entry)


def test_a_question_is_asked_as_it_is_written(tiny_backbone, tmp_path):
    assert ask(tiny_backbone, tmp_path, "which side ?\nA. left\nB. right") == ("which side ?\nA. left\nB. right",)


def test_images_stand_at_their_markers_and_others_first(tiny_backbone, tmp_path):
    parts = ask(tiny_backbone, tmp_path, "is <image 3> like <image 1> ?", "red", "green", "blue")
    process = tiny_backbone.family.process
    red, green, blue = (process(Image.new("RGB", (64, 64), colour)) for colour in ("red", "green", "blue"))
    assert [part if isinstance(part, str) else None for part in parts] == [None, "is", None, "like", None, "?"]
    for part, expected in ((parts[0], green), (parts[2], blue), (parts[4], red)):
        assert part.tokens == expected.tokens
        assert all(torch.equal(part.tensors[name], tensor) for name, tensor in expected.tensors.items())


def test_a_marker_without_an_image_is_refused(tiny_backbone, tmp_path):
    with pytest.raises(SlqError, match="item '1': its question has the marker <image 2>, and 'images' lists 1"):
        ask(tiny_backbone, tmp_path, "is <image 2> red ?", "red")


def greedy(backbone, parts, count):
    """The most likely token, appended, `count` times: the whole sequence each time, no cache."""
    message = encode(backbone, parts)
    ids = []
    for _ in range(count):
        inputs = collate(backbone, [type(message)(message.ids + ids, message.images)])
        with torch.no_grad():
            states = backbone.inner(**inputs, use_cache=False).last_hidden_state
            token = int(backbone.model.lm_head(states[0, -1]).argmax())
        if token == backbone.tokenizer.eos_token_id:
            break
        ids.append(token)
    return backbone.tokenizer.decode(ids, skip_special_tokens=True)


def test_batched_answers_equal_a_greedy_loop(tiny_backbone, tmp_path):
    from slq.data.prepared import read_split

    settings = {"set": "qa", "split": "test", "kind": "retention", "style": "filled", "first": 0, "count": 7, "seed": 7}
    draw_split(settings, tmp_path / "qa" / "test")
    split = read_split(tmp_path, "qa", "test")
    expected = [
        {"id": entry["id"], "answer": greedy(tiny_backbone, question_parts(tiny_backbone, split, entry), 6)}
        for entry in split.items
    ]
    assert answer(tiny_backbone, split, max_new_tokens=6, batch_size=3) == expected
    assert len({entry["answer"] for entry in expected}) > 1


def test_a_misspelt_size_of_a_model_is_refused(raw_config):
    model = raw_config["backbones"]["mini-qwen3vl"]["pretrain"]["model"]
    check_keys(model)
    model["text_config"]["hidden_sise"] = 64
    with pytest.raises(SlqError, match=r"model\.text_config\.hidden_sise is not a key of Qwen3VLTextConfig"):
        check_keys(model)
