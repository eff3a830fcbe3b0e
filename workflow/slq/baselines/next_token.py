"""What a backbone says next of an image and a text: the image's prefix runs once, and each text goes on from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from slq.baselines.injection import Injection, Visual, entropy, injecting, looking
from slq.common.errors import SlqError
from slq.models.backbone import Backbone, rows_of
from slq.models.family import Pixels
from slq.models.prefix import Encoded, Prefix, collate, continue_positions, encode, run_prefix

TEXT = "{text}"  # in a prompt, where a candidate's text stands
Read = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Manner:
    """How is asked, whatever is asked.

    rows: texts that run at once.
    reuse: an image's prefix runs once for all of its texts; without, once for each: the same answers, later.
    """

    rows: int
    injection: Injection = field(default_factory=Injection)
    reuse: bool = True


def matching(backbone: Backbone, image: Pixels, prompt: str, texts: Sequence[str]) -> list[Encoded]:
    """A turn for each text: the image, and whether it matches the text."""
    return [encode(backbone, (image, prompt.replace(TEXT, text))) for text in texts]


def truth(token: int) -> Read:
    """What is read of logits (n, vocabulary): the probability of a token, and the entropy of all, in nats: (n, 2)."""

    def read(logits: Tensor) -> Tensor:
        return torch.stack([logits.softmax(-1)[:, token], entropy(logits)], 1)

    return read


def first_token(backbone: Backbone, word: str, key: str) -> int:
    """The token that an answer begins with.

    Raises:
        SlqError: the backbone's tokenizer has none; `key` is where config.yaml says the word.
    """
    tokens: list[int] = backbone.tokenizer(word, add_special_tokens=False)["input_ids"]
    if not tokens or tokens[0] == backbone.tokenizer.unk_token_id:
        raise SlqError(f"config: {key}: the backbone's tokenizer has no token for {word!r}, so it cannot answer so")
    return tokens[0]


@torch.inference_mode()
def judge(backbone: Backbone, asked: Sequence[Sequence[Encoded]], read: Read, how: Manner) -> Tensor:
    """`read` of what comes next after each turn: (turns, …) on the CPU, in the order of images, then of turns.

    Args:
        asked: of each image its turns, which are the same tokens up to the last of the image.
    """
    tails = [tail(backbone, turn) for turns in asked for turn in turns]
    image = [number for number, turns in enumerate(asked) for _ in turns]
    order = sorted(range(len(tails)), key=lambda number: len(tails[number]))  # saves most of the padding
    if how.reuse:
        longest = [max(len(tail(backbone, turn)) for turn in turns) for turns in asked]
        shared = share(backbone, [head(backbone, turns[0]) for turns in asked], longest, how)
    else:
        turns = [turn for turns in asked for turn in turns]
    parts = []
    for start in range(0, len(order), how.rows):
        some = order[start : start + how.rows]
        if how.reuse:
            rows = torch.tensor([image[number] for number in some], device=backbone.device)
            states = go_on(backbone, shared.of(rows), [tails[number] for number in some], how)
        else:
            states = run_whole(backbone, [turns[number] for number in some], how)
        parts.append(read(backbone.model.get_output_embeddings()(states).float()).cpu())
    return torch.cat(parts)[torch.tensor(order).argsort()]


@dataclass(frozen=True)
class Shared:
    """Prefixes up to the end of an image, each to go on from more than once, and what is seen in them."""

    prefix: Prefix
    visual: Visual
    injection: Injection

    def of(self, rows: Tensor) -> "Shared":
        """Those of some rows, copied, so that what goes on from them leaves them as they are."""
        cache = rows_of(self.prefix.cache, rows)
        prefix = Prefix(cache, self.prefix.mask[rows], self.prefix.positions[..., rows, :])
        return Shared(prefix, self.visual.of(rows) if self.injection.ratio else self.visual, self.injection)


def share(backbone: Backbone, heads: Sequence[Encoded], longest: Sequence[int], how: Manner) -> Shared:
    """Run the turns' heads, which end with their images; `longest`: tokens of the longest tail of each."""
    inputs = collate(backbone, heads, torch.tensor(longest))
    with backbone.computing(), looking(backbone, image_places(backbone, inputs["input_ids"]), how.injection) as visual:
        return Shared(run_prefix(backbone, inputs), visual, how.injection)


def go_on(backbone: Backbone, shared: Shared, tails: Sequence[list[int]], how: Manner) -> Tensor:
    """States (n, d) of the last tokens of tails that each go on from a row of prefixes.

    They are padded on the left, between prefix and tail: the padding is masked, and positions count a row's own tokens.
    """
    prefix, length = shared.prefix, max(map(len, tails))
    pad = backbone.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (length - len(one)) + one for one in tails], device=backbone.device)
    padding = torch.tensor([length - len(one) for one in tails], device=backbone.device)[:, None]
    own = torch.arange(length, device=backbone.device) >= padding
    with backbone.computing(), injecting(backbone, shared.visual, own, how.injection):
        output = backbone.inner(
            inputs_embeds=backbone.inner.get_input_embeddings()(ids),
            past_key_values=prefix.cache,
            attention_mask=torch.cat([prefix.mask, own.to(prefix.mask)], 1),
            position_ids=continue_positions(prefix.positions, length) - padding,
            use_cache=True,
        )
    states: Tensor = output.last_hidden_state[:, -1]
    return states


def run_whole(backbone: Backbone, turns: Sequence[Encoded], how: Manner) -> Tensor:
    """The same states of whole turns, without anything shared; what is injected is injected behind the image."""
    inputs = collate(backbone, turns)
    images = image_places(backbone, inputs["input_ids"])
    behind = images.flip(1).cumsum(1).flip(1) == 0
    with (
        backbone.computing(),
        looking(backbone, images, how.injection) as visual,
        injecting(backbone, visual, behind, how.injection),
    ):
        states: Tensor = backbone.inner(**inputs, use_cache=False).last_hidden_state[:, -1]
    return states


def image_places(backbone: Backbone, ids: Tensor) -> Tensor:
    """Which tokens are an image's."""
    return ids == backbone.model.config.image_token_id


def end_of_image(backbone: Backbone, turn: Encoded) -> int:
    """How many tokens of a turn there are up to the last of its image."""
    return len(turn.ids) - turn.ids[::-1].index(backbone.model.config.image_token_id)


def head(backbone: Backbone, turn: Encoded) -> Encoded:
    """A turn up to the last token of its image: cut among its tokens, so that they are those of the whole turn."""
    return Encoded(turn.ids[: end_of_image(backbone, turn)], turn.images)


def tail(backbone: Backbone, turn: Encoded) -> list[int]:
    """The tokens behind it."""
    return turn.ids[end_of_image(backbone, turn) :]
