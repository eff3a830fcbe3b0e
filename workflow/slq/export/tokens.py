"""Queries as tokens: N new ones at the end of the chat template, which every ordinary processor then writes."""

from typing import Any

from slq.errors import SlqError

# What a user turn may hold, to try a template on.
CONTENTS = ([{"type": "text", "text": "a"}], [{"type": "image"}])


def add_queries(tokenizer: Any, count: int) -> list[int]:
    """Add `count` query tokens to a tokenizer and its chat template; returns their ids, ascending.

    Raises:
        SlqError: the tokenizer has such tokens, or the template or the tokens before the queries would become others.
    """
    names = [f"<|query_{number}|>" for number in range(count)]
    where = tokenizer.name_or_path
    if taken := set(names) & set(tokenizer.get_vocab()):
        raise SlqError(f"{where}: the tokenizer has tokens named {min(taken)}; a base without them was expected")
    if not isinstance(tokenizer.chat_template, str):
        raise SlqError(f"{where}: expected one chat template, found {type(tokenizer.chat_template).__name__}")
    before = [_turn(tokenizer, content) for content in CONTENTS]
    tokenizer.add_tokens(names, special_tokens=True)
    tokenizer.chat_template += f"{{% if add_generation_prompt %}}{''.join(names)}{{% endif %}}"
    ids: list[int] = tokenizer.convert_tokens_to_ids(names)
    for content, (text, text_ids) in zip(CONTENTS, before, strict=True):
        if _turn(tokenizer, content) != (text + "".join(names), text_ids + ids):
            raise SlqError(f"{where}: queries behind the chat template change the tokens before them; not exported")
    return ids


def _turn(tokenizer: Any, content: list[dict[str, str]]) -> tuple[str, list[int]]:
    """A user turn up to where the answer would begin, and its token ids."""
    turn = [{"role": "user", "content": content}]
    text: str = tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    return text, tokenizer(text, add_special_tokens=False)["input_ids"]
