"""Two-stage retrieval as in RetLLM (arXiv 2602.22278): a first stage finds candidates, an MLLM re-ranks them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from slq.baselines.candidates import (
    Candidates,
    order_by_listwise_choice,
    order_by_pointwise_score,
    select_candidates,
    update_ranks,
)
from slq.baselines.encode import (
    EMBEDDING_DIRECTIONS,
    Embeddings,
    RankedDataset,
    compute_rank_table,
    embed_both_directions,
    load_encoders,
)
from slq.baselines.rerank_scores import CandidateScorer, ListwiseScores, PointwiseScores, option_order
from slq.common.events import EventLog
from slq.common.files import write_jsonl
from slq.datasets.splits import Split
from slq.evaluation.encode import embed_split
from slq.evaluation.rank_table import RetrievalVariant
from slq.evaluation.ranks import Ranks
from slq.evaluation.retrieval import load_run, read_split_and_variants

ORDERS_SUFFIX = ".reranked.jsonl"  # suffix of the file with a dataset's re-ranked candidates
SplitEmbedder = Callable[[Split], dict[str, Embeddings]]


@dataclass(frozen=True)
class EmbeddedDataset:
    """A retrieval dataset with its first-stage embeddings.

    Attributes:
        entry: entry of the dataset in the settings.
        split: test split of the dataset.
        variants: variants of the evaluation.
        embeddings: image embeddings (I, d) and text embeddings (T, d) of the first stage, by direction.
    """

    entry: dict[str, Any]
    split: Split
    variants: list[RetrievalVariant]
    embeddings: dict[str, Embeddings]


def rank_by_reranking(
    settings: dict[str, Any], inputs: Mapping[str, Path], data: Path, out: Path, events: EventLog
) -> tuple[Any, Iterator[RankedDataset]]:
    """Embed all datasets with the first stage, load the re-ranker, and return an iterator that ranks every dataset.

    The first-stage model is released before the re-ranker is loaded. The iterator writes the re-ranked candidates of
    each dataset; files of an earlier evaluation are deleted first.

    Args:
        settings: settings of the rule (`slq.baselines.kinds.rerank`).
        inputs: folders of `backbone` (its snapshot), of `first_stage` (the adapter of a run, or the snapshot of a
            comparator), and of `reranker` (the adapter of the run whose backbone re-ranks).

    Returns:
        the image processor of the backbone, and the iterator.

    Raises:
        SlqError: the backbone's tokenizer lacks a token for an answer that the prompts expect.
    """
    for orders in (out / "retrieval").glob(f"*{ORDERS_SUFFIX}"):
        orders.unlink()
    datasets = embed_first_stage(settings, inputs, data, events)
    with events.span("init"):
        backbone, _ = load_run(settings, inputs["backbone"], inputs["reranker"])
        scorer = CandidateScorer(backbone, settings)

    def rank() -> Iterator[RankedDataset]:
        """Re-rank one dataset after another."""
        for dataset in datasets:
            with events.span("eval", dataset=dataset.entry["name"]):
                table, lines = rerank_dataset(dataset, scorer, settings)
            write_jsonl(out / "retrieval" / f"{dataset.entry['name']}{ORDERS_SUFFIX}", lines)
            yield dataset.entry, dataset.split, dataset.variants, table

    return backbone.family.image_processor, rank()


def embed_first_stage(
    settings: dict[str, Any], inputs: Mapping[str, Path], data: Path, events: EventLog
) -> list[EmbeddedDataset]:
    """Embed all datasets with the first-stage model."""
    with events.span("init"):
        embed = load_first_stage(settings, inputs["backbone"], inputs["first_stage"])
    datasets = []
    for entry in settings["datasets"]:
        split, variants = read_split_and_variants(data, entry)
        with events.span("eval", dataset=entry["name"]):
            datasets.append(EmbeddedDataset(entry, split, variants, embed(split)))
    return datasets


def rerank_dataset(
    dataset: EmbeddedDataset, scorer: CandidateScorer, settings: dict[str, Any]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Compute the rank table of all variants after re-ranking, and one record per query."""
    caption_to_image = dataset.split.caption_to_image
    direction_embeddings = (dataset.embeddings["t2i"], dataset.embeddings["i2t"])
    candidates_by_variant = [
        select_candidates(*direction_embeddings, caption_to_image, variant, settings["k"])
        for variant in dataset.variants
    ]
    scores = scorer.score(dataset.split, candidates_by_variant)
    reranked = [
        rerank_variant(dataset, *pair, scores, settings["decimals"])
        for pair in zip(dataset.variants, candidates_by_variant, strict=True)
    ]
    tables = [table for table, _ in reranked]
    return pd.concat(tables, ignore_index=True), merge_variants(lines for _, lines in reranked)


def rerank_variant(
    dataset: EmbeddedDataset,
    variant: RetrievalVariant,
    variant_candidates: Candidates,
    scores: tuple[PointwiseScores, ListwiseScores],
    decimals: int,
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Compute a variant's rank table after re-ranking its candidates, and one record per query."""
    (match_scores, choice_scores), caption_to_image = scores, dataset.split.caption_to_image
    pairs = zip(variant_candidates.query_captions.tolist(), variant_candidates.image_candidates.tolist(), strict=True)
    match_values = np.array([[match_scores[image, caption] for image in images] for caption, images in pairs])
    caption_lists = enumerate(variant_candidates.caption_candidates.tolist())
    choice_values = np.array([choice_scores[image, tuple(texts)] for image, texts in caption_lists])
    image_order = order_by_pointwise_score(match_values[..., 0], match_values[..., 1], decimals)
    caption_order = order_by_listwise_choice(choice_values)
    reranked_images = np.take_along_axis(variant_candidates.image_candidates, image_order, 1)
    reranked_captions = np.take_along_axis(variant_candidates.caption_candidates, caption_order, 1)
    own_image = caption_to_image[variant_candidates.query_captions]
    is_positive = {
        "t2i": reranked_images == own_image[:, None],
        "i2t": caption_to_image[reranked_captions] == np.arange(len(reranked_captions))[:, None],
        "i2t_strict": reranked_captions[own_image] == variant_candidates.query_captions[:, None],
    }
    table = compute_rank_table(dataset.split, dataset.embeddings, variant)
    for direction, hits in is_positive.items():
        rows = table["direction"] == direction
        ranks = update_ranks(Ranks(*(table.loc[rows, name].to_numpy() for name in ("rank", "rank_pessimistic"))), hits)
        table.loc[rows, "rank"], table.loc[rows, "rank_pessimistic"] = ranks.optimistic, ranks.pessimistic
    images, captions = np.array([item["id"] for item in dataset.split.items]), np.array(dataset.split.caption_ids)
    scores_by_name = {name: shortest_floats(match_values[..., at]) for at, name in enumerate(("score", "entropy"))}
    candidates = images[variant_candidates.image_candidates]
    t2i = query_lines("t2i", captions[variant_candidates.query_captions], candidates, image_order, **scores_by_name)
    # The score of a caption is the probability of its option number; `option_order` is the order in the prompt.
    candidates, choices = captions[variant_candidates.caption_candidates], shortest_floats(choice_values)
    option_orders = [option_order(image, candidates.shape[1]) for image in images.tolist()]
    i2t = query_lines("i2t", images, candidates, caption_order, score=choices, option_order=option_orders)
    return table, [{"variants": [variant.name], **line} for line in (*t2i, *i2t)]


def merge_variants(lines_by_variant: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Merge the records of all variants.

    A query with the same candidates in several variants gets one record that lists these variants.
    """
    lines: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in (line for one in lines_by_variant for line in one):
        known = lines.setdefault((line["direction"], line["query"], *line["candidates"]), line)
        if known is not line:
            known["variants"] += line["variants"]
    return list(lines.values())


def query_lines(
    direction: str, queries: np.ndarray, candidates: np.ndarray, order: np.ndarray, **values: list[Any]
) -> Iterator[dict[str, Any]]:
    """Yield one record per query: its candidates in first-stage order, each candidate's values, and the new order."""
    columns = {"query": queries.tolist(), "candidates": candidates.tolist(), "order": order.tolist(), **values}
    for row in zip(*columns.values(), strict=True):
        yield {"direction": direction, **dict(zip(columns, row, strict=True))}


def shortest_floats(values: np.ndarray) -> list[list[float]]:
    """Convert rows of float32 values to floats with the fewest digits that identify the same float32."""
    return [[float(str(value)) for value in row] for row in values]


def load_first_stage(settings: dict[str, Any], backbone_folder: Path, first_stage: Path) -> SplitEmbedder:
    """Load the first-stage model and return a function that embeds a split's images and captions for each direction.

    Args:
        settings: settings of the rule; `first_stage` contains a `method` on the backbone, or a comparator's `model`.
        first_stage: adapter folder of the method's run, or snapshot folder of the comparator.
    """
    first_stage_settings, batch_size = settings["first_stage"], settings["embed_batch"]
    if "method" in first_stage_settings:
        backbone, retriever = load_run(settings, backbone_folder, first_stage)
        return lambda split: dict.fromkeys(
            EMBEDDING_DIRECTIONS, embed_split(retriever, backbone, split, settings["prompt"], batch_size)[:2]
        )
    encoders = load_encoders(first_stage_settings["model"], first_stage)
    return lambda split: embed_both_directions(encoders, split, batch_size)
