"""Answers compared with a written-out greedy loop; prompts with images and blind."""

import pytest
import torch
from PIL import Image

from answering import answer, reply_tokens
from oracles import RED
from slq.common.errors import SlqError
from slq.datasets.questions import format_choice_question, strip_markers
from slq.datasets.splits import Split
from slq.evaluation.generation import GenerationParams, build_question_parts, remove_images, require_known_image_limits
from slq.models.prefix import collate, tokenize_message
from slq.synthetic.pretraining import check_config_keys


def asked(id_, question, *colours):
    """An item with one image per colour."""
    images = [f"{colour}.png" for colour in colours]
    return {
        **{"id": id_, "images": images, "question": question},
        **{"options": ["left", "right"], "answers": ["A"], "type": "sides"},
    }


def ask(backbone, folder, question, *colours):
    """Prompt parts of a question with one image per colour."""
    for colour in colours:
        Image.new("RGB", (64, 64), colour).save(folder / f"{colour}.png")
    entry = asked("1", question, *colours)
    return build_question_parts(backbone, Split("s", [entry], folder, ""), entry)


def test_a_question_is_asked_as_it_is_written(tiny_backbone, tmp_path):
    assert ask(tiny_backbone, tmp_path, "which side ?\nA. left\nB. right") == ("which side ?\nA. left\nB. right",)


def test_images_stand_at_their_markers_and_others_first(tiny_backbone, tmp_path):
    parts = ask(tiny_backbone, tmp_path, "is <image 3> like <image 1> ?", "red", "green", "blue")
    process = tiny_backbone.family.process
    red, green, blue = (process(Image.new("RGB", (64, 64), colour)) for colour in ("red", "green", "blue"))
    assert [part if isinstance(part, str) else None for part in parts] == [None, "is ", None, " like ", None, " ?"]
    for part, expected in ((parts[0], green), (parts[2], blue), (parts[4], red)):
        assert part.num_tokens == expected.num_tokens
        assert all(torch.equal(part.tensors[name], tensor) for name, tensor in expected.tensors.items())


def test_a_marker_without_an_image_is_refused(tiny_backbone, tmp_path):
    with pytest.raises(SlqError, match="item '1': its question has the marker <image 2>, but 'images' lists only 1"):
        ask(tiny_backbone, tmp_path, "is <image 2> red ?", "red")


def greedy(backbone, parts, count):
    """Greedy decoding of at most `count` tokens, over the whole sequence each time and without a cache."""
    message = tokenize_message(backbone, parts)
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


LIMITS = {"InternVL": {"max_tiles": 4}, "Qwen3VL": {"min_pixels": 2048, "max_pixels": 32768}}


def mixed_split(folder):
    """Split of twenty questions of many lengths, with no, one or two pictures, of seven shapes."""
    items = []
    for number in range(20):
        sizes = [(64, 64), (128, 64), (48, 96), (56, 200), (150, 60), (30, 40), (112, 112)][number % 7 :][: number % 3]
        for place, size in enumerate(sizes):
            Image.effect_noise(size, 90).convert("RGB").save(folder / f"{number}.{place}.png")
        question = " ".join(["what color is the circle to the left of the square"] * (number % 4 + 1))
        entry = asked(str(number), question)
        items.append(entry | {"images": [f"{number}.{place}.png" for place in range(len(sizes))]})
    return Split("s", items, folder, "")


def test_batched_answers_equal_a_greedy_loop(tiny_backbone, tmp_path):
    # Random weights may generate an image token, for which the loop has no picture; a row of zeros prevents that.
    image = tiny_backbone.tokenizer.convert_tokens_to_ids(tiny_backbone.family.placeholder)
    tiny_backbone.model.get_input_embeddings().weight.data[image] = 0
    split, limits = mixed_split(tmp_path), LIMITS[type(tiny_backbone.family).__name__]
    asked = [build_question_parts(tiny_backbone, split, entry, limits) for entry in split.items]
    expected = [greedy(tiny_backbone, parts, 6) for parts in asked]
    answers = answer(tiny_backbone, split, GenerationParams(6, 3, limits))
    assert [entry["answer"] for entry in answers] == expected
    assert len(set(expected)) > 3
    for line, entry in zip(answers, split.items, strict=True):
        assert {**line, "images": entry["images"]} == {**line, **entry}


SHIPPED = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.5}
SHIPPED |= {"no_repeat_ngram_size": 1, "num_beams": 2, "max_time": 1e-4, "forced_eos_token_id": 3}
SHIPPED |= {"suppress_tokens": [*range(5, 60)], "num_return_sequences": 2}


def test_no_generation_default_of_a_snapshot_changes_an_answer(tiny_backbone, tmp_path):
    """Neither sampling nor what greedy generation would heed too; the defaults are the model's own again behind it."""
    split = mixed_split(tmp_path)
    params = GenerationParams(6, 4)
    expected = reply_tokens(tiny_backbone, split, params)
    defaults = tiny_backbone.model.generation_config
    for name, value in SHIPPED.items():
        setattr(defaults, name, value)
    assert reply_tokens(tiny_backbone, split, params) == expected
    assert tiny_backbone.model.generation_config is defaults


def test_batches_of_any_size_give_the_same_answers_token_for_token(tiny_backbone, tmp_path):
    """One batch, in float32, has padding, pictures of different numbers of tokens, and questions without pictures."""
    split = mixed_split(tmp_path)
    limits = LIMITS[type(tiny_backbone.family).__name__]
    alone = reply_tokens(tiny_backbone, split, GenerationParams(8, 1, limits))
    assert len(set(map(tuple, alone))) > 5
    for size in (3, 8, 16):
        assert reply_tokens(tiny_backbone, split, GenerationParams(8, size, limits)) == alone, size


def test_a_wrong_continuation_would_be_seen(tiny_backbone, tmp_path, monkeypatch):
    """The comparison above can fail: without the padding mask, the tokens differ."""
    split = mixed_split(tmp_path)
    how = GenerationParams(8, 16, LIMITS[type(tiny_backbone.family).__name__])
    right = reply_tokens(tiny_backbone, split, how)
    generate = tiny_backbone.model.generate

    def unmasked(**inputs):
        return generate(**inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])})

    monkeypatch.setattr(tiny_backbone.model, "generate", unmasked)
    assert reply_tokens(tiny_backbone, split, how) != right


def test_a_line_keeps_the_prompt_and_how_the_reply_ended(tiny_backbone, tmp_path):
    split = mixed_split(tmp_path)
    how = GenerationParams(8, 16)
    tokens, end = reply_tokens(tiny_backbone, split, how), tiny_backbone.tokenizer.eos_token_id
    lines = answer(tiny_backbone, split, how)
    assert [line["tokens"] for line in lines] == [len(ids) for ids in tokens]
    assert [line["ended"] for line in lines] == [ids[-1] == end for ids in tokens]
    assert all(line["ended"] or line["tokens"] == 8 for line in lines)
    mark = tiny_backbone.family.placeholder
    assert [line["prompt"].count(mark) for line in lines] == [len(item["images"]) for item in split.items]
    assert all(line["question"] in line["prompt"] for line in lines)


def test_a_question_and_its_options_may_spell_control_tokens(tiny_backbone, tmp_path):
    """With a picture and blind, the prompt as stored contains the names, and one placeholder for the picture."""
    mark, how = tiny_backbone.family.placeholder, GenerationParams(8, 2)
    RED.save(tmp_path / "red.png")

    def split(word):
        text = format_choice_question(f"<image 1> what is {word} ?", ["a circle", word])
        return Split("s", [asked("1", text, "red"), asked("2", f"is it {word} ?")], tmp_path, "")

    for blind in (False, True):
        spelled, unknown = (
            reply_tokens(tiny_backbone, remove_images(split(word)) if blind else split(word), how)
            for word in (f"{mark} <|im_end|>", "zebra lion")
        )
        assert spelled == unknown
    first, second = answer(tiny_backbone, split(mark), how)
    assert f"what is {mark} ?\nA. a circle\nB. {mark}\n" in first["prompt"]
    assert (first["prompt"].count(mark), second["prompt"].count(mark)) == (3, 1)


def test_a_question_with_a_word_that_has_no_embedding_names_its_item(tiny_backbone, tmp_path):
    tiny_backbone.tokenizer.add_tokens(["zebra"])
    split = Split("s", [asked("1", "which side ?"), asked("2", "is it a zebra ?")], tmp_path, "")
    with pytest.raises(SlqError, match=r"^s: item '2': the token 'zebra' has id (\d+) in a .* has only \1 rows"):
        answer(tiny_backbone, split, GenerationParams(8, 2))


def test_limits_that_the_family_does_not_take_are_an_error(tiny_backbone):
    name = type(tiny_backbone.family).__name__
    require_known_image_limits(tiny_backbone, LIMITS[name])
    with pytest.raises(
        SlqError, match=rf"retention_images has the key tiles, which {name} does not accept; accepted keys: "
    ):
        require_known_image_limits(tiny_backbone, {"tiles": 3})


BLIND = [
    ("<image 1> what color is it ?", "what color is it ?"),
    ("is <image 3> like <image 1> ?", "is like ?"),
    ("<image 1> <image 2><image 3> both ?", "both ?"),
    ("  which ?\nA. <image 1>\nB. <image 2> \nC.  none", "  which ?\nA.\nB.\nC.  none"),
    ("see\n<image 1>\nabove, <image 2>", "see\n\nabove,"),
    ("no  marker < image 1 >", "no  marker < image 1 >"),
]


@pytest.mark.parametrize(("question", "text"), BLIND)
def test_a_blind_question_keeps_all_text_but_its_markers(question, text):
    assert strip_markers(question) == text


def test_blind_no_image_is_opened_encoded_or_given_to_the_model(tiny_backbone, tmp_path, monkeypatch):
    """The image files do not exist; where they do, the same check finds image tokens and tensors."""
    items = [asked(str(number), question, "red", "green", "blue") for number, (question, _) in enumerate(BLIND)]
    image_token = tiny_backbone.model.config.image_token_id
    given, generate = [], tiny_backbone.model.generate

    def spy(**inputs):
        given.append(inputs)
        return generate(**inputs)

    monkeypatch.setattr(tiny_backbone.model, "generate", spy)
    unseen = remove_images(Split("s", items, tmp_path / "nowhere", ""))
    for item in unseen.items:
        encoded = tokenize_message(tiny_backbone, build_question_parts(tiny_backbone, unseen, item))
        assert encoded.images == () and image_token not in encoded.ids
    answers = answer(tiny_backbone, unseen, GenerationParams(2, 4))
    assert [line["question"] for line in answers] == [text for _, text in BLIND]
    assert len(given) == 2
    for inputs in given:
        assert not any("pixel" in name or "image" in name for name in inputs)
        assert not (inputs["input_ids"] == image_token).any()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{colour}.png")
    answer(tiny_backbone, Split("s", items, tmp_path, ""), GenerationParams(2, 8))
    assert "pixel_values" in given[-1] and (given[-1]["input_ids"] == image_token).any()


def test_a_misspelt_size_of_a_model_is_refused(raw_config):
    model = raw_config["backbones"]["mini-qwen3vl"]["pretrain"]["model"]
    check_config_keys(model)
    model["text_config"]["hidden_sise"] = 64
    with pytest.raises(SlqError, match=r"model\.text_config\.hidden_sise is not a key of Qwen3VLTextConfig"):
        check_config_keys(model)
