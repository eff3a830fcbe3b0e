"""The job of a re-ranked row: candidates by a coarse list, what a backbone says of them, and the ranks that follow."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.baselines.candidates import Candidates, by_choice, by_truth, candidates, moved
from slq.baselines.encode import DIRECTIONS, Vectors, embed_directions, load_encoders, ranked, write_row
from slq.baselines.rerank_scores import Choice, Judge, Truth, shown_order
from slq.common.events import Events, describe_device
from slq.common.files import digest, write_lines
from slq.common.snapshots import identity
from slq.datasets.prepared import Split
from slq.evaluation.encode import caption_ids, embed_split, text_image
from slq.evaluation.rank_table import Variant
from slq.evaluation.ranks import Ranks
from slq.evaluation.retrieval import adapter_hash, load_run, read_asked, write_ranks
from slq.models.backbone import pick_device

NO_NUMBER = ("preset", "row", "kind", "sets")  # settings that decide no rank of a set
Embed = Callable[[Split], dict[str, Vectors]]


@dataclass(frozen=True)
class Asked:
    """A retrieval set: its entry of the settings, its test split, its variants, and the vectors of the coarse list."""

    entry: dict[str, Any]
    split: Split
    variants: list[Variant]
    vectors: dict[str, Vectors]


def rerank(
    settings: dict[str, Any], backbone_folder: Path, coarse: Path, by: Path, data: Path, work: Path, out: Path
) -> None:
    """Metrics, ranks and new orders of a row on the test split of every retrieval set, and what it is.

    The model that finds is gone when the one that judges is loaded.

    Args:
        settings: of the rule (`slq.config.baseline_slices.rerank_settings`).
        coarse: the adapter of the run whose list is re-ranked, or the snapshot of a comparator.
        by: the adapter of the run whose backbone is asked.
        work: scratch folder where the events of all attempts gather.

    Raises:
        SlqError: the backbone cannot answer as it is asked to.
    """
    device = describe_device(pick_device())
    name = {key: settings[key] for key in ("preset", "row")}
    events = Events.gathered(work / "retrieve.jsonl", **name, device=device)
    asked = find(settings, backbone_folder, coarse, data, events)
    with events.span("init"):
        backbone, _ = load_run(settings, backbone_folder, by)
        judge = Judge(backbone, settings)
    found_by = adapter_hash(coarse) if "method" in settings["coarse"] else identity(coarse)
    models = {"backbone": identity(backbone_folder), "coarse": found_by, "by": adapter_hash(by)}
    how = digest({key: value for key, value in settings.items() if key not in NO_NUMBER})
    for one in asked:
        benchmark = one.entry["name"]
        with events.span("eval", set=benchmark):
            of_images = text_image(one.split)
            ways = (one.vectors["t2i"], one.vectors["i2t"])
            found = [candidates(*ways, of_images, variant, settings["k"]) for variant in one.variants]
            scores = judge.score(one.split, found)
            new = [reorder(one, *pair, scores, settings["decimals"]) for pair in zip(one.variants, found, strict=True)]
            table = pd.concat([table for table, _ in new], ignore_index=True)
        write_lines(out / "retrieval" / f"{benchmark}.reranked.jsonl", once(lines for _, lines in new))
        inputs = models | {"set": one.split.sha256, "settings": how}
        write_ranks(out / "retrieval", one.entry, table, one.variants, inputs)
    write_row(out, settings, backbone.family.image_processor, device)
    events.publish(out / "events" / "retrieve.jsonl")


def find(settings: dict[str, Any], backbone_folder: Path, coarse: Path, data: Path, events: Events) -> list[Asked]:
    """The sets, embedded by the coarse model."""
    with events.span("init"):
        embed = load_coarse(settings, backbone_folder, coarse)
    asked = []
    for entry in settings["sets"]:
        split, variants = read_asked(data, entry)
        with events.span("eval", set=entry["name"]):
            asked.append(Asked(entry, split, variants, embed(split)))
    return asked


def reorder(
    asked: Asked, variant: Variant, found: Candidates, scores: tuple[Truth, Choice], decimals: int
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """A variant's table of ranks after its candidates were put into a new order, and a line for each query."""
    (truth, choice), of_images = scores, text_image(asked.split)
    pairs = zip(found.captions.tolist(), found.images.tolist(), strict=True)
    said = np.array([[truth[image, caption] for image in images] for caption, images in pairs])
    chances = np.array([choice[image, tuple(texts)] for image, texts in enumerate(found.texts.tolist())])
    new_images, new_texts = by_truth(said[..., 0], said[..., 1], decimals), by_choice(chances)
    images = np.take_along_axis(found.images, new_images, 1)
    texts = np.take_along_axis(found.texts, new_texts, 1)
    positive = {
        "t2i": images == of_images[found.captions, None],
        "i2t": of_images[texts] == np.arange(len(texts))[:, None],
        "i2t_strict": texts[of_images[found.captions]] == found.captions[:, None],
    }
    table = ranked(asked.split, asked.vectors, variant)
    for direction, hits in positive.items():
        rows = table["direction"] == direction
        ranks = moved(Ranks(*(table.loc[rows, name].to_numpy() for name in ("rank", "rank_pessimistic"))), hits)
        table.loc[rows, "rank"], table.loc[rows, "rank_pessimistic"] = ranks.optimistic, ranks.pessimistic
    lines = [*match_lines(asked.split, found, said, new_images), *choice_lines(asked.split, found, chances, new_texts)]
    return table, [{"variants": [variant.name], **line} for line in lines]


def once(lists: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Lines of all variants: a query that has the same candidates in several of them is one line, which names these."""
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in (line for one in lists for line in one):
        known = lines.setdefault((line["direction"], line["query"], *line["candidates"]), line)
        if known is not line:
            known["variants"] += line["variants"]
    return list(lines.values())


def match_lines(split: Split, found: Candidates, said: np.ndarray, new: np.ndarray) -> Iterator[dict[str, Any]]:
    """Of each caption its candidates in coarse order, what was said of each, and the new order of them."""
    names, queries = [item["id"] for item in split.items], caption_ids(split)
    for caption, images, answers, order in zip(found.captions, found.images, said, new, strict=True):
        yield {
            "direction": "t2i",
            "query": queries[caption],
            "candidates": [names[image] for image in images],
            "score": shortest(answers[:, 0]),
            "entropy": shortest(answers[:, 1]),
            "order": order.tolist(),
        }


def choice_lines(split: Split, found: Candidates, chances: np.ndarray, new: np.ndarray) -> Iterator[dict[str, Any]]:
    """The same of each image; a caption's score is the probability of its number, `shown` the order in the prompt."""
    queries = caption_ids(split)
    for item, texts, score, order in zip(split.items, found.texts, chances, new, strict=True):
        yield {
            "direction": "i2t",
            "query": item["id"],
            "candidates": [queries[text] for text in texts],
            "score": shortest(score),
            "shown": shown_order(item["id"], len(texts)),
            "order": order.tolist(),
        }


def shortest(values: np.ndarray) -> list[float]:
    """float32 in as few digits as give the same float32 again."""
    return [float(str(value)) for value in values]


def load_coarse(settings: dict[str, Any], backbone_folder: Path, coarse: Path) -> Embed:
    """How a split is embedded, of either direction its images and captions.

    Args:
        settings: of the rule; its `coarse` names a `method` of the backbone, or the `model` of a comparator.
        coarse: the method's adapter, or the comparator's snapshot.
    """
    how, size = settings["coarse"], settings["embed_batch"]
    if "method" in how:
        backbone, retriever = load_run(settings, backbone_folder, coarse)
        return lambda split: dict.fromkeys(
            DIRECTIONS, embed_split(retriever, backbone, split, settings["prompt"], size)[:2]
        )
    encoders = load_encoders(how["model"], coarse)
    return lambda split: embed_directions(encoders, split, size)
