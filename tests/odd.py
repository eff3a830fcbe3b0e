"""Faults in a user's file, drawn by hypothesis: changed values and changed bytes."""

import copy
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from slq.common.errors import SlqError

# `make test` runs a few examples of each property, `make test-all` twenty times as many.
FEW_AND_MANY = pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])

SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\r"  # line ends of `str.splitlines` that are not line ends in our files
TEXTS = st.one_of(
    st.text(max_size=5),
    st.text(SEPARATORS + "a \n\t", min_size=1, max_size=5),
    st.sampled_from(
        ["", " ", "\0", "\ud83d", "a\udce9b", "..", "/", "\ufeff", "<image 1>", "<image 99>", "é" * 300, "½", "\u0661"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([10**400, -(2**63), 2**64, 0.5, -0.0, math.nan, math.inf, 1e308]),
)
VALUES: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=4,
)


def places(content: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the key path of every value in a JSON-like value, including the empty path of the value itself."""
    yield place
    if isinstance(content, dict | list):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*place, key))


@st.composite
def spoiled(draw: Any, valid: Any) -> Any:
    """Draw a JSON-like value with one value replaced, removed or added."""
    content = [copy.deepcopy(valid)]
    *way, last = (0, *draw(st.sampled_from([*places(valid)])))
    holder: Any = content
    for key in way:
        holder = holder[key]
    match draw(st.sampled_from(["other", "other", "gone", "more"])):
        case "gone" if holder is not content:
            del holder[last]
        case "more" if isinstance(holder[last], dict):
            holder[last][draw(TEXTS)] = draw(VALUES)
        case "more" if isinstance(holder[last], list):
            holder[last].append(draw(VALUES))
        case _:
            holder[last] = draw(VALUES)
    return content[0]


@st.composite
def damaged(draw: Any, valid: bytes) -> bytes:
    """Draw bytes of which a few are replaced, removed or repeated."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        end = start + draw(st.integers(0, 8))
        match draw(st.sampled_from(["other", "other", "cut", "gone", "twice"])):
            case "other":
                data[start:end] = draw(st.binary(min_size=1, max_size=8))
            case "cut":
                del data[start:]
            case "gone":
                del data[start:end]
            case "twice":
                data[start:start] = data[start:end]
    return bytes(data)


def as_json(content: Any) -> bytes:
    """Encode as JSON with escapes for non-ASCII characters and for lone surrogates."""
    return json.dumps(content).encode()


def as_lines(content: Any) -> bytes:
    """Encode the members of a list, or one value, as JSONL."""
    return b"".join(as_json(line) + b"\n" for line in (content if isinstance(content, list) else [content]))


def odd_json(valid: Any, write: Callable[[Any], bytes] = as_json) -> st.SearchStrategy[bytes]:
    """Draw the bytes of a file whose valid JSON-like value was changed in a value or in a few bytes."""
    return st.one_of(spoiled(valid).map(write), damaged(write(valid)))


def run(check: Callable[[], None], times: int) -> None:
    """Run a hypothesis property with `times` times the number of examples of the profile."""
    settings(max_examples=times * settings.default.max_examples)(check)()


def outcome(read: Callable[..., Any], *arguments: Any) -> Any:
    """Call a reader; return its result, or None after a one-line SlqError. Other exceptions are bugs of the reader."""
    try:
        return read(*arguments)
    except SlqError as error:
        assert str(error) and "\n" not in str(error), error
        return None
