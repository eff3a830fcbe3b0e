"""Ranks as they are stored, by image, and other ways to count them."""

import numpy as np
import pytest

from slq.common.errors import SlqError
from slq.evaluation.rank_table import (
    RetrievalIds,
    RetrievalVariant,
    build_rank_table,
    build_variant_table,
    compute_recalls_by_leakage,
    first_captions_mask,
    rank_within_folds,
)
from slq.evaluation.ranks import RECALL_KS, compute_recalls, rank_all_directions
from slq.evaluation.statistics import compute_hits_per_image, count_ties, recalls_by_direction

COUNTS = [5, 7, 1, 6, 5, 2, 5, 5, 3, 5, 6, 5]  # captions of each image


@pytest.fixture
def vectors():
    """Images, captions and each caption's image, with few values, so that ties occur."""
    random = np.random.default_rng(3)
    text_image = np.repeat(np.arange(len(COUNTS)), COUNTS)
    images = random.integers(-2, 3, (len(COUNTS), 3)).astype(np.float32)
    noise = random.integers(-1, 2, (len(text_image), 3)).astype(np.float32)
    return images, images[text_image] + noise, text_image


@pytest.fixture
def names(vectors):
    captions = [f"{image}#{n}" for image, count in enumerate(COUNTS) for n in range(count)]
    return RetrievalIds([str(image) for image in range(len(COUNTS))], captions, vectors[2])


@pytest.fixture
def table(names, vectors):
    return build_rank_table(names, rank_all_directions(*vectors))


def test_a_table_has_both_ranks_of_every_query(table):
    assert table["rank"].dtype == table["rank_pessimistic"].dtype == np.int32
    assert (table["rank"] <= table["rank_pessimistic"]).all() and any(count_ties(table).values())


def test_recalls_count_queries_but_strictly_images(table, names, vectors):
    found, ranks = recalls_by_direction(table), rank_all_directions(*vectors)
    assert found["t2i"] == compute_recalls(ranks["t2i"].optimistic) and found["i2t"] == compute_recalls(
        ranks["i2t"].optimistic
    )
    places = ranks["i2t_strict"].optimistic
    for k in RECALL_KS:
        shares = [np.mean(places[names.caption_to_image == image] <= k) for image in range(len(COUNTS))]
        assert found["i2t_strict"][f"R@{k}"] == pytest.approx(100 * np.mean(shares))
    assert found["i2t_strict"]["R@1"] <= 100 * np.mean([1 / count for count in COUNTS])


def test_ties_count_the_ranks_that_they_decide(table, vectors):
    ranks = rank_all_directions(*vectors)
    expected = {way: int((one.optimistic != one.pessimistic).sum()) for way, one in ranks.items()}
    assert count_ties(table) == expected
    worst = recalls_by_direction(table, "rank_pessimistic")
    assert all(worst[way][f"R@{k}"] <= recalls_by_direction(table)[way][f"R@{k}"] for way in ranks for k in RECALL_KS)


def test_counting_needs_rows_and_columns(table):
    with pytest.raises(SlqError, match="no ranks of t2i"):
        compute_hits_per_image(table[table["direction"] == "i2t"], "t2i")
    with pytest.raises(SlqError, match="no column 'image'"):
        compute_hits_per_image(table.drop(columns="image"), "t2i")


def test_five_captions_are_the_first_five_in_the_sets_order():
    text_image = np.array([1, 0, 0, 1, 1, 1, 0, 1, 1, 1])
    kept = first_captions_mask(text_image)
    assert kept.tolist() == [True] * 8 + [False] * 2
    assert first_captions_mask(text_image, 2).tolist() == [True, True, True, True] + [False] * 6


def test_cutting_captions_changes_their_gallery_and_no_image_search(vectors):
    images, texts, text_image = vectors
    kept = first_captions_mask(text_image)
    assert kept.sum() == sum(min(count, 5) for count in COUNTS)
    whole, cut = rank_all_directions(*vectors), rank_all_directions(images, texts[kept], text_image[kept])
    assert cut["t2i"].optimistic.tolist() == whole["t2i"].optimistic[kept].tolist()
    for image in range(len(images)):
        scores, own = texts[kept] @ images[image], text_image[kept] == image
        assert cut["i2t"].optimistic[image] == 1 + (scores[~own] > scores[own].max()).sum()


def own_set(vectors, images, captions):
    """The part of a dataset with these images and captions, as a separate dataset."""
    own = np.array([images.index(image) for image in vectors[2][captions]])
    return vectors[0][images], vectors[1][captions], own


def test_folds_are_sets_of_their_own(vectors):
    found, text_image = rank_within_folds(*vectors, fold_size=4), vectors[2]
    for images in ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]):
        captions = np.flatnonzero(np.isin(text_image, images))
        for way, alone in rank_all_directions(*own_set(vectors, images, captions)).items():
            inside = images if way == "i2t" else captions
            assert found[way].optimistic[inside].tolist() == alone.optimistic.tolist()
            assert found[way].pessimistic[inside].tolist() == alone.pessimistic.tolist()
    assert (found["t2i"].pessimistic <= 4).all()
    for way, ranks in rank_within_folds(*vectors, fold_size=12).items():
        assert ranks.optimistic.tolist() == rank_all_directions(*vectors)[way].optimistic.tolist()


@pytest.mark.parametrize("captions", [None, 1, 5])
@pytest.mark.parametrize("fold", [None, 3])
def test_a_variant_names_what_it_counts(vectors, names, captions, fold):
    """Kept captions and folds are compared with datasets cut out by hand, each with its ids."""
    table = build_variant_table(names, *vectors, RetrievalVariant("mine", captions, fold))
    assert set(table["variant"]) == {"mine"}
    for start in range(0, len(COUNTS), fold or len(COUNTS)):
        images = list(range(start, start + (fold or len(COUNTS))))
        kept = [
            number
            for number, (name, image) in enumerate(zip(names.caption_ids, vectors[2], strict=True))
            if image in images and (captions is None or int(name.split("#")[1]) < captions)
        ]
        ranks = rank_all_directions(*own_set(vectors, images, kept))
        asked = {"t2i": [names.caption_ids[n] for n in kept], "i2t": [names.image_ids[n] for n in images]}
        asked["i2t_strict"] = asked["t2i"]
        for way, queries in asked.items():
            rows = table[table["direction"] == way].set_index("query").loc[queries]
            assert rows["rank"].tolist() == ranks[way].optimistic.tolist()
            assert rows["rank_pessimistic"].tolist() == ranks[way].pessimistic.tolist()
            assert rows["image"].tolist() == [query.split("#")[0] for query in queries]


@pytest.mark.parametrize("size", [5, 1000])
def test_folds_must_come_out_even(vectors, size):
    with pytest.raises(SlqError, match=f"12 images cannot be divided into folds of {size} images"):
        rank_within_folds(*vectors, fold_size=size)


def test_clean_and_leaked_queries_keep_the_whole_gallery(table):
    parts = compute_recalls_by_leakage(table, {"2", "7", "10"})
    assert {name: part["images"] for name, part in parts.items()} == {"clean": 9, "leaked": 3}
    for name, part in parts.items():
        for way in ("t2i", "i2t"):
            rows = [row for row in table.itertuples() if row.direction == way]
            mine = [row.rank for row in rows if (row.image in {"2", "7", "10"}) == (name == "leaked")]
            assert part["metrics"][way] == {
                f"R@{k}": 100 * sum(rank <= k for rank in mine) / len(mine) for k in RECALL_KS
            }


def test_without_a_leak_all_is_clean(table):
    parts = compute_recalls_by_leakage(table, [])
    assert parts == {
        "clean": {"images": 12, "metrics": recalls_by_direction(table)},
        "leaked": {"images": 0, "metrics": None},
    }


def test_a_leak_of_another_set_is_refused(table):
    with pytest.raises(SlqError, match=r"1 leaked images are not in the dataset \(first: 'COCO_7'\)"):
        compute_recalls_by_leakage(table, ["3", "COCO_7"])
