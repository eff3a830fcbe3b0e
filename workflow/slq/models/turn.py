"""Token ids of texts and user turns, in which templates and prompts alone have control tokens, and a user's text none.

A tokenizer finds the names of its control tokens, such as an image's, wherever they stand. In a caption, a query or a
question such a name means its letters: the model would want an image for it, or take it for the end of the turn.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from slq.models.family import Family, ProcessedImage

# Of the tokens added to a vocabulary and not called special, those written like <think> control; others are words.
BRACKETED = re.compile(r"<\S+>|\[\S+\]")
# Half a character, which no text has that can be tokenized: marks a user's characters while a template is rendered.
BREAK = "\udc00"
PRIVATE_USE = range(0xF0000, 0xFFFFE)  # code points without a meaning, which normalisation leaves alone


@dataclass(frozen=True)
class Prompt:
    """A text of the configuration, whose control tokens are recognised, with a user's `content` in place of `slot`."""

    text: str
    slot: str = ""
    content: str = ""


ContentPart = str | Prompt | ProcessedImage  # a str is a user's text


class UnusableTurnError(ValueError):
    """A turn or text that the model cannot take; `text` is the longest text of a user in it."""

    def __init__(self, message: str, text: str = "") -> None:
        """Create an error whose message ends with the beginning of the text."""
        super().__init__(f"{message}; the text begins {text[:60]!r}" if text else message)
        self.text = text


class TextTokenizer:
    """A fast tokenizer to which the name of a control token in a user's text is text.

    The ids of all other texts are the tokenizer's own.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Wrap a tokenizer of transformers."""
        self.tokenizer = tokenizer
        self._renamed: dict[str, Tokenizer] = {}

    def protect(self, text: str) -> str:
        """Return a user's text as `encode` takes it: unchanged unless it holds the name of a control token."""
        return _break(text) if self._holds_control_token(text) else text

    def encode(
        self, texts: Sequence[str], add_special_tokens: bool = True, max_length: int | None = None
    ) -> list[list[int]]:
        """Tokenize texts, in which control tokens are recognised except where a user's text is protected.

        Args:
            add_special_tokens: whether the tokenizer adds its usual first and last tokens.
            max_length: number of tokens that longer texts are truncated to.
        """
        options: dict[str, Any] = {"add_special_tokens": add_special_tokens, "max_length": max_length}
        plain = [text.replace(BREAK, "") for text in texts]
        rows: list[list[int]] = self.tokenizer(plain, truncation=max_length is not None, **options)["input_ids"]
        pairs = zip(texts, rows, strict=True)
        return [self._encode_protected(text, **options) if BREAK in text else row for text, row in pairs]

    def render_turn(self, family: Family, parts: Sequence[ContentPart], template: str | None = None) -> str:
        """Render a user turn up to where the answer would begin, with user's texts protected.

        Each image is rendered as a single placeholder.

        Args:
            template: a text to use instead of the chat template, in which {turn} is replaced by the concatenated parts.
        """
        write = _break if self._holds_control_token("".join(_user_texts(parts))) else str
        content = []
        for part in parts:
            if isinstance(part, Prompt):
                part = part.text.replace(part.slot, write(part.content))
            elif isinstance(part, str):
                part = write(part)
            content.append({"type": "text", "text": part} if isinstance(part, str) else {"type": "image"})
        if template is not None:
            return template.replace("{turn}", "".join(part.get("text", family.placeholder) for part in content))
        turn = [{"role": "user", "content": content}]
        rendered: str = self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        return rendered

    def tokenize_turn(
        self, family: Family, parts: Sequence[ContentPart], num_embeddings: int, template: str | None = None
    ) -> list[int]:
        """Tokenize a rendered user turn, with each placeholder expanded to the tokens of its image.

        A chat template contains all special tokens itself. With another `template` the tokenizer adds its usual special
        tokens, such as a first token, as the processors of the models that come with such a template do.

        Raises:
            UnusableTurnError: a prompt holds what stands for an image, or a token has no embedding.
        """
        counts = [part.num_tokens for part in parts if isinstance(part, ProcessedImage)]
        first, *others = self.render_turn(family, parts, template).split(family.placeholder)
        if len(others) == len(counts):
            pairs = zip(counts, others, strict=True)
            text = first + "".join(family.expand_placeholder(count) + after for count, after in pairs)
            (ids,) = self.encode([text], add_special_tokens=template is not None)
        if len(others) != len(counts) or ids.count(family.config.image_token_id) != sum(counts):
            raise UnusableTurnError(
                f"a prompt or template holds a token of images, as '{family.placeholder}' is one to this backbone, "
                f"besides those of the message's {len(counts)} images: take it out (config.yaml)"
            )
        self.require_embedded(ids, num_embeddings, max(_user_texts(parts), key=len, default=""))
        return ids

    def require_embedded(self, ids: Sequence[int], num_embeddings: int, text: str) -> None:
        """Check that every token of a text has a row in the embedding.

        Raises:
            UnusableTurnError: one has none.
        """
        if (highest := max(ids, default=0)) >= num_embeddings:
            raise UnusableTurnError(
                f"the token {self.tokenizer.convert_ids_to_tokens(highest)!r} is number {highest} of a tokenizer with "
                f"{len(self.tokenizer)} tokens, and the model's embedding has {num_embeddings} rows, from 0: use the "
                "tokenizer that belongs to the weights, or take the token out of the text or prompt",
                text,
            )

    @cached_property
    def highest_text_id(self) -> int:
        """Largest id that a user's text can get."""
        vocabulary = self.tokenizer.get_vocab().items()
        return max((number for token, number in vocabulary if token not in self._control_tokens), default=0)

    @cached_property
    def _control_tokens(self) -> dict[str, bool]:
        """Names of the control tokens, longest first, each with whether it is looked for in normalised text."""
        added = self.tokenizer.added_tokens_decoder.values()
        control = [token for token in added if token.special or BRACKETED.fullmatch(token.content)]
        return {token.content: token.normalized for token in sorted(control, key=lambda one: -len(one.content))}

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        """Pattern of the control tokens' names."""
        return re.compile("|".join(map(re.escape, self._control_tokens)) or "(?!)")

    def _holds_control_token(self, text: str) -> bool:
        """Return whether a text holds the name of a control token, as written or once the tokenizer normalises it."""
        if self._control_pattern.search(text):
            return True
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        names = [name for name, normalized in self._control_tokens.items() if normalized and normalizer is not None]
        return any(normalizer.normalize_str(name) in normalizer.normalize_str(text) for name in names)

    def _encode_protected(self, text: str, add_special_tokens: bool, max_length: int | None) -> list[int]:
        """Tokenize a text whose own control tokens get other names first, so that none is found in a user's text."""
        mark = next(char for char in map(chr, PRIVATE_USE) if char not in text)
        names = {token: f"{mark}{number}{mark}" for number, token in enumerate(self._control_tokens)}
        if mark not in self._renamed:
            self._renamed[mark] = _rename_tokens(self.tokenizer.backend_tokenizer, names)
        renamed = self._renamed[mark]
        renamed.enable_truncation(max_length) if max_length else renamed.no_truncation()
        renamed_text = self._control_pattern.sub(lambda found: names[found[0]], text).replace(BREAK, "")
        ids: list[int] = renamed.encode(renamed_text, add_special_tokens=add_special_tokens).ids
        return ids


def _user_texts(parts: Sequence[ContentPart]) -> list[str]:
    """Return the texts of a user in the parts of a turn."""
    contents = [part.content if isinstance(part, Prompt) else part for part in parts]
    return [content for content in contents if isinstance(content, str)]


def _break(text: str) -> str:
    """Mark every character but blanks, which templates may strip from the ends, so that no name is found."""
    return re.sub(r"\S", rf"{BREAK}\g<0>{BREAK}", text)


def _rename_tokens(tokenizer: Tokenizer, names: dict[str, str]) -> Tokenizer:
    """Copy a tokenizer in which some tokens have other names, so that text with their old names is ordinary text.

    A model's vocabulary may hold them too, and merges that make them of ordinary pieces.
    """
    state = json.loads(tokenizer.to_str())
    state["padding"] = None
    for token in state["added_tokens"]:
        if token["content"] in names:
            token |= {"content": names[token["content"]], "normalized": False}
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "unk_token" in model:
        model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if names.keys().isdisjoint([*pair, "".join(pair)])]
    return Tokenizer.from_str(json.dumps(state))
