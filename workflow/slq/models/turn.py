"""Tokenisation of texts and user turns that keeps control tokens out of user text.

A tokenizer recognises the names of its control tokens, such as `<image>`, anywhere in a text. In a caption, query or
question such a name is ordinary text: as a control token, the model would expect an image or end the turn. Control
tokens are therefore recognised only in chat templates and in the prompts of the configuration.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tokenizers import Tokenizer

from slq.models.family import Family, ProcessedImage

# Added tokens that are not marked as special are control tokens if they are written like <think>, else words.
BRACKETED = re.compile(r"<\S+>|\[\S+\]")
# A lone surrogate, which no text that can be tokenised contains. It marks user characters while a template is rendered.
BREAK = "\udc00"
PRIVATE_USE = range(0xF0000, 0xFFFFE)  # private-use code points, which normalisation leaves unchanged


@dataclass(frozen=True)
class Prompt:
    """A prompt of the configuration, whose control tokens are recognised; user text `content` replaces `slot` in it."""

    text: str
    slot: str = ""
    content: str = ""


ContentPart = str | Prompt | ProcessedImage  # a str is user text


class UnusableTurnError(ValueError):
    """Error about a turn or text that cannot be tokenised for the model; `text` is the longest user text in it."""

    def __init__(self, message: str, text: str = "") -> None:
        """Create an error whose message quotes the beginning of the text."""
        super().__init__(f"{message}; the text begins {text[:60]!r}" if text else message)
        self.text = text


class TextTokenizer:
    """A wrapper of a fast tokenizer that treats names of control tokens in user text as ordinary text.

    All other texts get exactly the token ids of the wrapped tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        """Wrap a fast tokenizer of transformers."""
        self.tokenizer = tokenizer
        self._renamed: dict[str, Tokenizer] = {}

    def protect(self, text: str) -> str:
        """Mark user text for `encode` if it contains the name of a control token, else return it unchanged."""
        return _break(text) if self._holds_control_token(text) else text

    def encode(
        self, texts: Sequence[str], add_special_tokens: bool = True, max_length: int | None = None
    ) -> list[list[int]]:
        """Tokenise texts; control tokens are recognised except in text that `protect` has marked.

        Args:
            add_special_tokens: whether the tokenizer adds its usual first and last special tokens.
            max_length: maximum number of tokens; longer texts are truncated.
        """
        options: dict[str, Any] = {"add_special_tokens": add_special_tokens, "max_length": max_length}
        plain = [text.replace(BREAK, "") for text in texts]
        rows: list[list[int]] = self.tokenizer(plain, truncation=max_length is not None, **options)["input_ids"]
        pairs = zip(texts, rows, strict=True)
        return [self._encode_protected(text, **options) if BREAK in text else row for text, row in pairs]

    def render_turn(self, family: Family, parts: Sequence[ContentPart], template: str | None = None) -> str:
        """Render a user turn up to the start of the answer, with user text protected and one placeholder per image.

        Args:
            template: text used instead of the chat template; the concatenated parts replace `{turn}` in it.
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
        """Tokenise a user turn, with each placeholder expanded to the image tokens of its image.

        A chat template writes all special tokens itself. With another `template`, the tokenizer adds its usual special
        tokens, such as a first token, as the processors of models with such templates do.

        Raises:
            UnusableTurnError: a prompt contains an image token, or a token id exceeds the embedding matrix.
        """
        counts = [part.num_tokens for part in parts if isinstance(part, ProcessedImage)]
        first, *others = self.render_turn(family, parts, template).split(family.placeholder)
        if len(others) == len(counts):
            pairs = zip(counts, others, strict=True)
            text = first + "".join(family.expand_placeholder(count) + after for count, after in pairs)
            (ids,) = self.encode([text], add_special_tokens=template is not None)
        if len(others) != len(counts) or ids.count(family.config.image_token_id) != sum(counts):
            raise UnusableTurnError(
                f"a prompt or template contains an image token (for this backbone, e.g. '{family.placeholder}') "
                f"besides the tokens of the message's {len(counts)} images: remove it from config.yaml"
            )
        self.require_embedded(ids, num_embeddings, max(_user_texts(parts), key=len, default=""))
        return ids

    def require_embedded(self, ids: Sequence[int], num_embeddings: int, text: str) -> None:
        """Check that every token id of a text has a row in the embedding matrix.

        Raises:
            UnusableTurnError: a token id is `num_embeddings` or higher.
        """
        if (highest := max(ids, default=0)) >= num_embeddings:
            raise UnusableTurnError(
                f"the token {self.tokenizer.convert_ids_to_tokens(highest)!r} has id {highest} in a tokenizer with "
                f"{len(self.tokenizer)} tokens, but the model's embedding matrix has only {num_embeddings} rows (ids "
                "from 0): use the tokenizer that belongs to the weights, or remove the token from the text or prompt",
                text,
            )

    @cached_property
    def highest_text_id(self) -> int:
        """Largest token id that user text can produce."""
        vocabulary = self.tokenizer.get_vocab().items()
        return max((number for token, number in vocabulary if token not in self._control_tokens), default=0)

    @cached_property
    def _control_tokens(self) -> dict[str, bool]:
        """Names of the control tokens, longest first; the value tells whether a name is matched in normalised text."""
        added = self.tokenizer.added_tokens_decoder.values()
        control = [token for token in added if token.special or BRACKETED.fullmatch(token.content)]
        return {token.content: token.normalized for token in sorted(control, key=lambda one: -len(one.content))}

    @cached_property
    def _control_pattern(self) -> re.Pattern[str]:
        """Regular expression that matches the names of the control tokens."""
        return re.compile("|".join(map(re.escape, self._control_tokens)) or "(?!)")

    def _holds_control_token(self, text: str) -> bool:
        """Return whether a text contains the name of a control token, as written or after normalisation."""
        if self._control_pattern.search(text):
            return True
        normalizer = self.tokenizer.backend_tokenizer.normalizer
        names = [name for name, normalized in self._control_tokens.items() if normalized and normalizer is not None]
        return any(normalizer.normalize_str(name) in normalizer.normalize_str(text) for name in names)

    def _encode_protected(self, text: str, add_special_tokens: bool, max_length: int | None) -> list[int]:
        """Tokenise a text with protected parts, with a copy of the tokenizer whose control tokens are renamed.

        The control tokens outside protected parts get the new names too; in user text, the old names are ordinary text.
        """
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
    """Return the user texts among the parts of a turn."""
    contents = [part.content if isinstance(part, Prompt) else part for part in parts]
    return [content for content in contents if isinstance(content, str)]


def _break(text: str) -> str:
    """Put BREAK around every character so that no control token matches; not around spaces, which templates strip."""
    return re.sub(r"\S", rf"{BREAK}\g<0>{BREAK}", text)


def _rename_tokens(tokenizer: Tokenizer, names: dict[str, str]) -> Tokenizer:
    """Copy a tokenizer with some tokens renamed, so that their old names are tokenised as ordinary text.

    The tokens may also occur in the model's vocabulary, and in BPE merges that form them from ordinary pieces. The
    former are renamed, the latter removed.
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
