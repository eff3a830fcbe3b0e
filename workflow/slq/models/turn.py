"""Token ids of user turns: texts and images in a backbone's chat template; exports carry this module."""

from collections.abc import Sequence
from typing import Any

from slq.models.family import Family, ProcessedImage

ContentPart = str | ProcessedImage


class UnusableTurnError(ValueError):
    """A turn that the model cannot take."""


class TextTokenizer:
    """A tokenizer of user turns."""

    def __init__(self, tokenizer: Any) -> None:
        """Wrap a tokenizer of transformers."""
        self.tokenizer = tokenizer

    def render_turn(self, family: Family, parts: Sequence[ContentPart], template: str | None = None) -> str:
        """Render a user turn of texts and images, up to where the answer would begin.

        Each image is rendered as a single placeholder.

        Args:
            template: a text to use instead of the chat template, in which {turn} is replaced by the concatenated parts.
        """
        if template is not None:
            turn = "".join(part if isinstance(part, str) else family.placeholder for part in parts)
            return template.replace("{turn}", turn)
        content = [{"type": "text", "text": part} if isinstance(part, str) else {"type": "image"} for part in parts]
        rendered: str = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        return rendered

    def tokenize_turn(self, family: Family, parts: Sequence[ContentPart], template: str | None = None) -> list[int]:
        """Tokenize a rendered user turn, with each placeholder expanded to the tokens of its image.

        A chat template contains all special tokens itself. With another `template` the tokenizer adds its usual special
        tokens, such as a first token, as the processors of the models that come with such a template do.

        Raises:
            UnusableTurnError: a text contains the placeholder of an image.
        """
        for part in parts:
            if isinstance(part, str) and family.placeholder in part:
                raise UnusableTurnError(
                    f"a text holds '{family.placeholder}', which stands for an image to this backbone: take it out; it "
                    f"begins {part[:60]!r}"
                )
        counts = [part.num_tokens for part in parts if isinstance(part, ProcessedImage)]
        first, *others = self.render_turn(family, parts, template).split(family.placeholder)
        pairs = zip(counts, others, strict=True)
        text = first + "".join(family.expand_placeholder(count) + after for count, after in pairs)
        ids: list[int] = self.tokenizer(text, add_special_tokens=template is not None)["input_ids"]
        return ids
