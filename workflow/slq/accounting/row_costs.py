"""What rows of Table 1 that are no runs will cost: a retrieval set read out without training, a list re-ranked.

Re-ranking (RetLLM's second stage) asks about each caption with each of its k images, and about each image once with its
k captions. An image's prefix, the turn up to the image's end, runs once for all captions that are asked about it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slq.accounting.architecture import is_known
from slq.accounting.flops import Plan, Work, embed_flops, head_flops, total
from slq.accounting.forecast import Range, Sizes, hours_at
from slq.accounting.sizes import missing_size

Settings = Mapping[str, Any]
Benches = Mapping[tuple[str, str], Settings]
NUMBERED = 3  # tokens of a numbered caption beside its own: number, point, end of line


@dataclass(frozen=True)
class Part:
    """One stage of a row on a set.

    Attributes:
        stage: `embed`, or `rerank` in one direction.
        flops: None where there is no closed form, which `reason` then names.
        anew: of re-ranking, FLOPs if each question ran its image anew.
        hours: of one device; None where they are not known.
    """

    stage: str
    direction: str
    flops: float | None
    anew: float | None
    hours: Range | None
    reason: str = ""


@dataclass(frozen=True)
class RowCost:
    """What a row will cost on a retrieval set, in a gallery of its own if it is counted in more than one.

    Candidates that two galleries share are asked about once; how many, no size tells: of the second it is at most this.
    """

    row: str
    kind: str
    set: str
    parts: tuple[Part, ...]

    @property
    def hours(self) -> Range | None:
        """Of all parts; None where those of one are not known."""
        known = [part.hours for part in self.parts if part.hours is not None]
        return sum(known, Range(0.0, 0.0)) if len(known) == len(self.parts) else None

    def part(self, stage: str, direction: str) -> Part | None:
        """None of a row that has no such stage."""
        found = [part for part in self.parts if (part.stage, part.direction) == (stage, direction)]
        return found[0] if found else None


def row_costs(settings: Settings, benches: Benches) -> list[RowCost]:
    """A line per row, retrieval set and gallery that a row asks about, in the order of the table.

    Args:
        settings: of `cost_settings.forecast_settings`.
        benches: `bench.json` by backbone and method, where one was made.
    """
    entries = {entry["name"]: entry for entry in [*settings["backbones"], *settings["foreign_backbones"]]}
    known = {name: Sizes(settings, entry) for name, entry in entries.items() if is_known(entry["architecture"])}
    speeds = {name: _speed(sizes, benches) for name, sizes in known.items()}

    def lacking(name: str, entry: Settings) -> str:
        """Why a backbone's work on a set is not forecast; empty if it is."""
        if name not in known:
            return f"no closed form of {name}, or no sizes"
        missing = missing_size(entry, "test")
        return f"{missing} is missing" if missing else ""

    def embed(embeds: Settings, entry: Settings) -> Part:
        name = embeds.get("backbone")
        reason = lacking(name, entry) if name else f"no closed form of {embeds['encoder']}, two towers"
        if reason:
            return Part("embed", "both", None, None, None, reason)
        flops = embedding(known[name], embeds, entry["size"])
        return Part("embed", "both", flops, None, _hours(flops, speeds[name]))

    def rerank(name: str, entry: Settings, first: bool) -> list[Part]:
        if reason := lacking(name, entry):
            return [Part("rerank", way, None, None, None, reason) for way in ("t2i", "i2t")]
        asked = reranking(known[name], settings["rerank"], entry["size"], first)
        return [Part("rerank", way, *flops, _hours(flops[0], speeds[name])) for way, flops in asked.items()]

    costs = []
    for row in settings["rows"]:
        for entry in settings["retrieval_sets"]:
            for place, gallery in enumerate(settings["galleries"][entry["name"]]):
                parts = [embed(row["embeds"], entry)] if not place else []
                if row["kind"] == "rerank":
                    parts += rerank(row["backbone"], entry, first=not place)
                if parts:
                    name = f"{entry['name']}.{gallery}" if place else entry["name"]
                    costs.append(RowCost(row["name"], row["kind"], name, tuple(parts)))
    return costs


def embedding(sizes: Sizes, embeds: Settings, size: Settings) -> float:
    """FLOPs of a set's images and captions, as a method embeds them or as an untrained read-out does.

    Args:
        embeds: `method`, or how a backbone is read out: `queries`, `instructions` of both directions, once where they
            are the same: where they are not, the set is embedded for each; what stands in place of the chat template,
            and the side of the square that an image is made first, where the read-out says so.
    """
    images, texts = size["images"]["test"], size["texts"]["test"]
    if "method" in embeds:
        plan, turns = sizes.plan(embeds["method"]), [(0, 0)]
    else:
        plan = Plan("base", queries=embeds["queries"])
        turns = [_words(sizes, turn, embeds.get("template")) for turn in embeds["instructions"]]
    if "images" in embeds:
        size = {**size, "pixels": embeds["images"]["square"] ** 2}
    messages = [work for words in turns for work in sizes.messages(size, images, texts, words)]
    return sum(total(embed_flops(sizes.architecture, plan, work)) for work in messages)


def reranking(sizes: Sizes, asked: Settings, size: Settings, first: bool = True) -> dict[str, tuple[float, float]]:
    """FLOPs by direction, as they are and if each question ran its image anew.

    Args:
        asked: `rerank` of the preset: k, match, choose, inject.
        first: of the set's galleries; the prefixes of images have run when another is asked about.
    """
    architecture, turn, visual = sizes.architecture, sizes.settings["turn_tokens"]["image"], sizes.visual(size)
    images, texts, caption = size["images"]["test"], size["texts"]["test"], size["text_tokens"]
    pairs, looks = texts * min(asked["k"], images), _looks(asked["inject"], architecture.text.layers)
    before = visual + turn // 2  # the turn's beginning and the image
    after = turn - turn // 2 + prompt_tokens(asked["match"]) + caption
    # A suffix is to its prefix what queries are to theirs: it attends to it and to itself, and changes nothing there.
    suffixes = Plan("base", queries=after, prefix=min(images, pairs) / pairs if first else 0.0)
    once = embed_flops(architecture, suffixes, Work.alike(pairs, before, visual))
    anew = embed_flops(architecture, Plan("base"), Work.alike(pairs, before + after, visual))
    options = min(asked["k"], texts) * (caption + NUMBERED)
    lists = Work.alike(images, visual + turn + prompt_tokens(asked["choose"]) + options, visual)
    heads = {"t2i": head_flops(architecture, pairs * looks), "i2t": head_flops(architecture, images * looks)}
    chosen = total(embed_flops(architecture, Plan("base"), lists)) + heads["i2t"]
    return {"t2i": (total(once) + heads["t2i"], total(anew) + heads["t2i"]), "i2t": (chosen, chosen)}


def prompt_tokens(prompt: str) -> int:
    """Tokens of a prompt without what stands in its braces: one a word, mark, end of a line and special token."""
    return len(re.findall(r"<\|\w+\|>|\w+|[^\w\s]|\n", re.sub(r"\{\w+\}", "", prompt)))


def _words(sizes: Sizes, turns: Settings, template: str | None) -> tuple[int, int]:
    """Tokens that a read-out adds to an image and to a text, beyond those of the chat template."""
    chat = sizes.settings["turn_tokens"]
    image, text = (
        prompt_tokens(turns[kind]) + (0 if template is None else prompt_tokens(template) - chat[kind])
        for kind in ("image", "text")
    )
    return image, text


def _looks(inject: Settings, layers: int) -> int:
    """Positions of a question that the head is asked at, at most: its end, and each layer that may be uncertain."""
    low, high = inject["layers"]
    return 1 + (max(0, int(min(high, layers) - low) - 1) if inject["ratio"] else 0)


def _hours(flops: float, speed: Range | None) -> Range | None:
    return None if speed is None else hours_at(flops, speed)


def _speed(sizes: Sizes, benches: Benches) -> Range | None:
    """FLOP/s of a backbone that is not trained, as any method was timed on it, or a share of the device's peak."""
    own = sizes.backbone["name"]
    return sizes.speed("base", {method: bench for (name, method), bench in benches.items() if name == own})
