# ruff: noqa: RUF001
"""Ids of odd texts by OpenAI's own tokenizer of CLIP, stored in clip_ids.json: python tests/snapshots/clip_ids.py.

Its package is no requirement, because it wants torchvision: pip install --no-deps clip-anytorch==2.6.0
"""

import importlib.util
import json
from pathlib import Path

STORED = Path(__file__).with_name("clip_ids.json")
LENGTH = 77
TEXTS = [
    "a photo of a cat",
    "A Dog, (a cat)... it's! Don't you'll WE'VE",
    "",
    "   many   blanks \t tabs\n and lines  ",
    "curly “quotes” and it’s ‘single’",
    "fish &amp; chips",
    "twice &amp;amp; escaped &lt;b&gt; &quot;x&quot; &#39;y&#39;",
    "ｆｕｌｌ　ｗｉｄｔｈ １２３",
    "mojibake: schÃ¶n, donâ€™t, â€œquotedâ€\x9d",
    "an emoji 🤷🏽‍♀️ and 🎉🎉",
    "numbers 1234567890 12.5% $3,000.00",
    "ünïcödé naïve café 日本語 한국어 Русский العربية",
    "e\u0301 combining, ﬁ ligature, … dots, – dash — dash",
    "a\u00a0no-break\u2003space\u200bzero\ufeffwidth\u00adhyphen",
    "<|startoftext|> a red circle <|endoftext|> after",
    "<b>html</b> @user #tag http://example.com/a?b=c",
    "x" * 400,
    "a very long caption of many words " * 20,
    "İstanbul ǅ ß ẞ ſ K",
    "\x1b[31mred\x1b[0m bell\x07 null",
    "tabs\tand\r\nreturns\x0b\x0c",
    "'s 't 're 've 'm 'll 'd",
    "½ ² ³ № ™ © ® ° µ",
    "a_b-c/d\\e|f~g`h^i",
]


def load_openai_tokenizer():
    """OpenAI's tokenizer, without its package's imports of torch and torchvision; None if it is not installed."""
    found = importlib.util.find_spec("clip")
    if found is None or not found.origin or importlib.util.find_spec("ftfy") is None:
        return None
    spec = importlib.util.spec_from_file_location("clip_tokenizer", Path(found.origin).parent / "simple_tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def openai_ids(tokenizer, text: str) -> list[int]:
    """Ids as `clip.tokenize(text, truncate=True)` gives them, without the padding."""
    start, end = (tokenizer.encoder[token] for token in ("<|startoftext|>", "<|endoftext|>"))
    ids = [start, *tokenizer.encode(text), end]
    return ids if len(ids) <= LENGTH else [*ids[: LENGTH - 1], end]


if __name__ == "__main__":
    oracle = load_openai_tokenizer()
    rows = [json.dumps({"text": text, "ids": openai_ids(oracle, text)}) for text in TEXTS]
    STORED.write_text("[\n" + ",\n".join(rows) + "\n]\n")
