"""A user's text stays text: its ids are the tokenizer's own, and a control token's name in it is spelled in letters."""

import random
from types import SimpleNamespace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from slq.models.family import ProcessedImage
from slq.models.turn import Prompt, TextTokenizer, UnusableTurnError
from slq.synthetic.pretraining import build_word_tokenizer

LETTERS = [chr(code) for code in range(33, 127)]
SAMPLE = ["a red circle to the left of a blue ring", "what is written on the sign ? the image of a tag", "10% of it's"]
CHAT_TEMPLATE = (
    "{% for part in messages[0]['content'] %}<|user|>{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}<|end|>\n<|answer|>"
)
CONTROL = ["<|user|>", "<|end|>", "<|answer|>", "<image>", "<img>", "</img>", "<think>", "<s>"]
IMAGE = ProcessedImage({}, num_tokens=3)


def byte_level():
    """Tokenizer as Qwen's: pieces of bytes, so that no text is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.decoder = normalizers.NFC(), decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return tokenizer


def sentencepiece():
    """Tokenizer as Mistral's: blanks are letters, words are joined, and merges of letters make a control token."""
    pieces = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *LETTERS, "<s", "a▁", "a▁r"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("<", "s"), ("<s", ">"), ("a", "▁"), ("a▁", "r")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def unigram():
    """Tokenizer as T5's: the most likely pieces, of which a control token is the most likely."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("▁", -3.0), *((letter, -4.0) for letter in LETTERS), ("red", -5.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def wordpiece():
    """Tokenizer as BERT's, in lower case."""
    words = ["[UNK]", "<s>", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def words():
    """Tokenizer as the mini backbones': one token per word, with control tokens among them."""
    return build_word_tokenizer(["<pad>", "<unk>", *CONTROL])


KINDS = {"bytes": byte_level, "letters": sentencepiece, "likeliest": unigram, "pieces": wordpiece, "words": words}
LOSSLESS = ("bytes", "letters", "likeliest")


def finished(tokenizer):
    """Tokenizer as transformers loads it: control tokens, `<think>` not marked special, and added words."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=[one for one in CONTROL if one != "<think>"]
    )
    fast.add_tokens(["<think>", *(AddedToken(word, normalized=False) for word in ("well known", "\n\n"))])
    fast.chat_template = CHAT_TEMPLATE
    return fast


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def tokenizer(kind):
    return finished(KINDS[kind]())


@pytest.fixture
def family(tokenizer):
    return SimpleNamespace(
        placeholder="<image>",
        expand_placeholder=lambda count: f"<img>{'<image>' * count}</img>",
        config=SimpleNamespace(image_token_id=tokenizer.convert_tokens_to_ids("<image>")),
    )


@pytest.fixture
def tokenized(tokenizer, family):
    """Function that returns the ids of a turn of the given parts."""
    text_tokenizer = TextTokenizer(tokenizer)

    def tokenize(*parts, template=None, rows=10**6):
        return text_tokenizer.tokenize_turn(family, parts, rows, template)

    return tokenize


def odd_texts(count=150):
    """Yield texts of letters of many scripts, blanks of all kinds, marks, and parts of control tokens' names."""
    draw = random.Random(0)
    ranges = [(32, 127), (160, 592), (880, 1500), (2304, 3500), (8192, 8400), (0x4E00, 0x4F00), (0x1F300, 0x1F700)]
    ranges += [(0xF0000, 0xF0010), (0x300, 0x310)]
    pieces = [" ", "\n", "\n\n", "\t", "\u0085", "\u2028", "<", ">", "|", "image", "<|", "think", "well known", "a red"]
    for _ in range(count):
        chosen = (draw.choice([draw.choice(pieces), chr(draw.randrange(*draw.choice(ranges)))]) for _ in range(12))
        yield "".join(chosen)


def own_ids(tokenizer, *parts, template=None):
    """Oracle: the tokenizer's own ids of the whole turn as one text, in which an image is its tokens."""
    tokens = "<img><image><image><image></img>"
    if template is not None:
        return tokenizer(template.replace("{turn}", "".join(tokens if part is IMAGE else part for part in parts)))[
            "input_ids"
        ]
    turn = "".join(f"<|user|>{f'{tokens}' + chr(10) if part is IMAGE else part.strip()}" for part in parts)
    return tokenizer(f"{turn}<|end|>\n<|answer|>", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("renamed", [False, True], ids=["as ever", "as beside a control token"])
def test_ids_of_other_texts_are_the_tokenizers_own(tokenizer, tokenized, monkeypatch, renamed):
    """The ids are also equal on the code path for texts with a control token's name."""
    if renamed:
        monkeypatch.setattr(TextTokenizer, "_holds_control_token", lambda *_: True)
    for text in [*SAMPLE, *odd_texts()]:
        for parts in ((text,), (IMAGE, text), (text, IMAGE, "a ring")):
            assert tokenized(*parts) == own_ids(tokenizer, *parts), repr(text)
        assert tokenized(IMAGE, text, template="{turn} so") == own_ids(tokenizer, IMAGE, text, template="{turn} so")
        prompt = Prompt("is it {text} ?", "{text}", text)
        assert tokenized(IMAGE, prompt) == own_ids(tokenizer, IMAGE, f"is it {text} ?")


def control_ids(tokenizer, ids):
    numbers = set(tokenizer.convert_tokens_to_ids(CONTROL))
    return [number for number in ids if number in numbers]


@pytest.mark.parametrize("name", CONTROL)
def test_a_control_tokens_name_is_its_letters(kind, tokenizer, tokenized, name):
    """It occurs alone, twice, within a word, across its own halves, beside blanks and beside an added word."""
    forms = ["a {} ring", "{}", "{}{}", "x{}y", " {}\n", name[:2] + "{}" + name[2:], "well known {}", "\U000f0000{}"]
    for text in (form.format(name, name) for form in forms):
        for turn in (
            lambda one: (one,),
            lambda one: (IMAGE, one),
            lambda one: (IMAGE, Prompt("is '{}' it", "{}", one)),
        ):
            ids, plain = tokenized(*turn(text)), tokenized(*turn("a ring"))
            assert control_ids(tokenizer, ids) == control_ids(tokenizer, plain), text
            if kind in LOSSLESS and text.isascii():
                assert "".join(text.split()) in "".join(tokenizer.decode(ids).split())
            if "well known" in text:
                assert tokenizer.convert_tokens_to_ids("well known") in ids
        template = tokenized(IMAGE, text, template="<|user|> {turn}<|end|>")
        assert control_ids(tokenizer, template) == control_ids(
            tokenizer, tokenized(IMAGE, "a", template="<|user|> {turn}<|end|>")
        )


def test_two_texts_side_by_side_make_no_control_token(tokenizer, tokenized):
    template = "<|user|>{turn}<|end|>"
    plain = control_ids(tokenizer, tokenized("a", "b", template=template))
    assert control_ids(tokenizer, tokenized("an <ima", "ge>", template=template)) == plain


def test_a_prompt_of_ours_may_hold_control_tokens(tokenizer, tokenized):
    """They count as control tokens, also beside a text that spells one."""
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    assert tokenized("a ring", Prompt("so <|end|>")).count(end) == 2
    assert tokenized("a <|end|> ring", Prompt("so <|end|>")).count(end) == 2
    assert tokenized(Prompt("{text} so <|end|>", "{text}", "a <|end|>")).count(end) == 2


@pytest.mark.parametrize("parts", [(Prompt("an <image>"),), (IMAGE, Prompt("an <image>"))])
def test_an_images_token_in_a_prompt_is_an_error(tokenized, parts):
    with pytest.raises(
        UnusableTurnError, match=r"a prompt or template contains an image token \(for this backbone, e.g. '<image>'\)"
    ):
        tokenized(*parts)


def test_a_token_of_images_that_is_no_placeholder_is_an_error_too(family, tokenizer):
    family.config.image_token_id = tokenizer.convert_tokens_to_ids("<s>")
    family.expand_placeholder = lambda count: "<img>" + "<s>" * count
    tokenize = TextTokenizer(tokenizer).tokenize_turn
    assert tokenize(family, (IMAGE, "a <s> ring"), 10**6).count(family.config.image_token_id) == IMAGE.num_tokens
    with pytest.raises(UnusableTurnError, match="contains an image token"):
        tokenize(family, (IMAGE, Prompt("an <s>")), 10**6)


def test_a_token_without_an_embedding_is_named_with_the_sizes(tokenizer, tokenized):
    number = tokenizer.convert_tokens_to_ids("well known")
    words = rf"the token 'well known' has id {number} in a tokenizer with {len(tokenizer)} tokens, but the model's "
    with pytest.raises(
        UnusableTurnError, match=rf"{words}embedding matrix has only {number} rows.* begins 'a well known ring'"
    ):
        tokenized("a well known ring", rows=number)
    assert tokenized("a ring", rows=number) and tokenized("a well known ring", rows=number + 1)


def test_a_name_that_only_the_tokenizers_normalising_makes_is_found_too():
    """CLIP is an example: its control tokens are matched in lower case."""
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Lowercase()
    end = AddedToken("<|end|>", normalized=True, special=True)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    text_tokenizer = TextTokenizer(fast)
    assert fast.eos_token_id in fast("a <|END|> ring")["input_ids"], "the tokenizer itself finds one"
    (ids,) = text_tokenizer.encode([text_tokenizer.protect("a <|END|> ring")])
    assert fast.eos_token_id not in ids and fast.decode(ids) == "a <|end|> ring"


def test_a_protected_text_is_truncated_as_others_are(tokenizer):
    text_tokenizer = TextTokenizer(tokenizer)
    texts = [text_tokenizer.protect("a <image> ring " * 20), "a ring " * 40]
    rows = text_tokenizer.encode(texts, max_length=7)
    assert list(map(len, rows)) == [7, 7]
    assert len(text_tokenizer.encode(texts)[0]) > 7
