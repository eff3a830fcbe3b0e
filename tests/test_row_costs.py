"""What rows of Table 1 that are no runs will cost, and did: by torch's counter, by hand, in print, in the ledger."""

import csv
import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from slq import cost_settings
from slq.accounting.flops import Plan, Work, embed_flops, head_flops, total
from slq.accounting.forecast import Sizes
from slq.accounting.ledger import ROWS, ledger_csv, read_ledger
from slq.accounting.needs import row_needs
from slq.accounting.row_costs import embedding, prompt_tokens, reranking, row_costs
from slq.accounting.row_estimate import FIELDS, hours_of_rows, table
from slq.cli import main
from slq.config import load
from slq.models import prefix
from slq.models.backbone import lent
from slq.models.prefix import Encoded, collate, continue_positions
from stored import MINI, Runs, cell, tables
from test_attempts import DEVICE, Told
from test_flops import AROUND, case, counted  # case: a fixture

__all__ = ["case"]
BARE = {"text": "{text}", "image": "{image}"}
WORDS = {"text": "{text}\nSummary above sentence in one word:", "image": "{image}\nSummary above image in one word:"}
IMAGES, TEXTS, CAPTION, K = 2, 3, 6, 2
ASKED = {"k": K, "match": "Does it match {text}?", "choose": "{options}\nWhich one?", "inject": {"ratio": 0.0}}
ASKED["inject"] |= {"layers": [5, 16], "entropy": 0.75}
LISTED = K * (CAPTION + 3)
FOUND = [{"coarse": "base", "by": "base"}, {"coarse": "slq", "by": "base"}]


def with_rows(raw: dict, preset: str) -> dict:
    """The configuration with a read-out that is told something, lists to re-rank, and an encoder as a comparator."""
    raw["readouts"]["in_words"] = {"label": "in words", "queries": 0, "instructions": {"t2i": WORDS, "i2t": BARE}}
    changed = raw["presets"][preset]
    changed["comparators"], changed["zero_shot"] = ["CLIP-ViT-B-32"], ["zero_queries", "in_words"]
    changed["rerank"] = changed["rerank"] | {"rows": [*FOUND, {"coarse": "CLIP-ViT-B-32", "by": "base"}], "k": 5}
    return load(raw | {"preset": preset})


@pytest.fixture
def paper(raw_config) -> dict:
    return json.loads(cost_settings.forecast_settings(with_rows(raw_config, "paper")))


@pytest.fixture
def sizes(case, paper) -> Sizes:
    """Of a real shape of few layers, whose turn around an image is that of the case."""
    architecture = {"model_type": case.family, **case.model.config.to_dict()}
    entry = paper["backbones"][0] | {"architecture": architecture}
    return Sizes(paper | {"turn_tokens": {"text": 8, "image": AROUND}}, entry)


SET = {"images": {"test": IMAGES}, "texts": {"test": TEXTS}, "pixels": 192 * 384, "text_tokens": CAPTION}


def questions(case) -> tuple[Encoded, int, Encoded]:
    """An image's turn up to its end, how many tokens a caption adds to it, and a turn with a list of captions."""
    image = case.batches[0][0].images[0]
    before, after = AROUND // 2, AROUND - AROUND // 2
    head = Encoded([1] * before + [7] * image.tokens, (image,))
    listed = after + prompt_tokens(ASKED["choose"]) + LISTED
    return head, after + prompt_tokens(ASKED["match"]) + CAPTION, Encoded(head.ids + [1] * listed, (image,))


def test_reranking_is_what_torch_counts(case, sizes):
    """Each image's prefix once and each suffix from it; anew: each pair whole; lists whole; the head at the ends."""
    backbone = case.backbone()
    backbone.model.requires_grad_(False)
    head, length, listed = questions(case)
    read = backbone.model.get_output_embeddings()
    run = prefix.run_prefix.__wrapped__  # torch's counter stumbles over no_grad

    def go_on(batch):
        looked, said = run(backbone, collate(backbone, batch)), []
        for _ in range(TEXTS * K // IMAGES):
            with lent(looked.cache) as cache:
                states = backbone.inner(
                    inputs_embeds=torch.zeros(len(batch), length, backbone.width),
                    past_key_values=cache,
                    attention_mask=torch.cat([looked.mask, looked.mask.new_ones(len(batch), length)], 1),
                    position_ids=continue_positions(looked.positions, length),
                    use_cache=True,
                ).last_hidden_state
            said.append(read(states[:, -1]))
        return torch.cat(said)

    def whole(batch):
        return read(backbone.inner(**collate(backbone, batch), use_cache=False).last_hidden_state[:, -1])

    pair = Encoded(head.ids + [1] * length, head.images)
    closed = reranking(sizes, ASKED, SET)
    assert closed["t2i"][0] == pytest.approx(IMAGES * counted(go_on, [[head]])[0], rel=0.001)
    assert closed["t2i"][1] == pytest.approx(TEXTS * K * counted(whole, [[pair]])[0], rel=0.001)
    assert closed["i2t"][0] == closed["i2t"][1] == pytest.approx(IMAGES * counted(whole, [[listed]])[0], rel=0.001)
    with FlopCounterMode(display=False) as counter:
        read(torch.zeros(3, backbone.width))
    assert counter.get_total_flops() == head_flops(sizes.architecture, 3)


def test_coco_by_hand(paper):
    """5,000 images of 256 tokens, 25,010 captions of 12, five candidates, at 1B: by products of sizes."""
    lines = {(cost.row, cost.set): cost for cost in row_costs(paper, {})}
    cost = lines["InternVL3-1B.slq.by.base", "coco"]
    layer = 2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864
    suffix = 5 + prompt_tokens(paper["rerank"]["match"]) + 12
    tower = 24 * (1025 * 2 * 12 * 1024**2 + 4 * 1025**2 * 1024)
    pairs = 25010 * 5
    by_hand = 5000 * (tower + 261 * 2 * 24 * layer) + pairs * suffix * 2 * 24 * layer + pairs * 2 * 896 * 151674
    t2i = cost.part("rerank", "t2i")
    assert t2i.flops == pytest.approx(by_hand, rel=0.03)
    assert t2i.anew == pytest.approx(pairs * (tower + (261 + suffix) * 2 * 24 * layer), rel=0.03)
    assert t2i.hours.low == pytest.approx(t2i.flops / (0.4 * 989e12) / 3600)
    assert cost.hours.high == pytest.approx(sum(part.flops for part in cost.parts) / (0.15 * 989e12) / 3600)
    further = lines["InternVL3-1B.slq.by.base", "coco.1k"]
    assert further.part("embed", "both") is None
    assert further.part("rerank", "t2i").flops < t2i.flops < t2i.anew
    assert further.part("rerank", "i2t") == cost.part("rerank", "i2t")


def test_a_set_is_embedded_for_each_direction_that_is_told_something_else(paper):
    sizes = Sizes(paper, paper["backbones"][0])
    size = paper["retrieval_sets"][0]["size"]
    once = embedding(sizes, {"queries": 0, "instructions": [BARE]}, size)
    assert once == embedding(sizes, {"method": "base"}, size)
    assert embedding(sizes, {"queries": 0, "instructions": [BARE, BARE]}, size) == 2 * once
    told = embedding(sizes, {"queries": 0, "instructions": [WORDS]}, size)
    tokens = 1000 * 8 + 5000 * 8  # "\n Summary above image in one word :", of a sentence too
    more = embed_flops(sizes.architecture, Plan("base"), Work(tokens=tokens))
    assert told - once == pytest.approx(total(more), rel=0.05)
    assert embedding(sizes, {"queries": 1, "instructions": [BARE]}, size) > once
    eight = "<|im_start|>user\n{turn}<|im_end|>\n<|im_start|>assistant\n"
    templated = embedding(sizes, {"queries": 0, "instructions": [BARE], "template": eight}, size)
    turns = (Work.alike(1000, tokens, 256) for tokens in (266, 264))  # two tokens less than the chat template's ten
    usual, fewer = (total(embed_flops(sizes.architecture, Plan("base"), work)) for work in turns)
    assert once - templated == pytest.approx(usual - fewer)


def test_an_image_that_is_made_a_square_first(paper):
    (entry,) = (one for one in paper["backbones"] if one["name"] == "Qwen3-VL-2B")
    sizes, size = Sizes(paper, entry), paper["retrieval_sets"][0]["size"]
    told = {"queries": 0, "instructions": [BARE]}
    larger = embedding(sizes, told, size | {"pixels": 1344**2})
    assert embedding(sizes, told | {"images": {"square": 1344}}, size) == larger > embedding(sizes, told, size)


def test_prompts_are_counted_by_words_and_marks():
    assert prompt_tokens("{image}\nSummary above image in one word:") == 8
    assert prompt_tokens("{text}") == 0
    assert prompt_tokens('Is "{text}" in it?') == 6
    assert prompt_tokens("<|im_start|>user\n{turn}<|im_end|>") == 4


def test_injection_asks_the_head_at_layers_too(sizes):
    """Once for each layer between the two that are named; of the two layers here, none is behind the fifth."""
    inject = ASKED["inject"] | {"ratio": 0.1}
    plain = reranking(sizes, ASKED, SET)
    assert reranking(sizes, ASKED | {"inject": inject}, SET) == plain
    looked = reranking(sizes, ASKED | {"inject": inject | {"layers": [-1, 2]}}, SET)
    for way, count in (("t2i", TEXTS * K), ("i2t", IMAGES)):
        assert looked[way][0] - plain[way][0] == pytest.approx(head_flops(sizes.architecture, count * 2))


def test_what_has_no_closed_form_is_said_and_never_zero(paper):
    costs = row_costs(paper, {})
    (encoder,) = (cost for cost in costs if (cost.row, cost.set) == ("CLIP-ViT-B-32", "coco"))
    assert encoder.parts[0].flops is None and encoder.hours is None
    (found,) = (cost for cost in costs if (cost.row, cost.set) == ("Qwen3-VL-2B.CLIP-ViT-B-32.by.base", "coco"))
    assert found.part("embed", "both").flops is None and found.part("rerank", "t2i").flops > 0 and found.hours is None
    text = table(paper, costs)
    assert text.count("not forecast") == 2 + 4 * 2
    assert "Not forecast: no closed form of CLIP-ViT-B-32, two towers." in text
    assert "16 of 21 rows: " in text and max(map(len, text.splitlines())) <= 100
    assert [row for row, hours in hours_of_rows(costs).items() if hours is None] == [
        "CLIP-ViT-B-32",
        *(f"{backbone['name']}.CLIP-ViT-B-32.by.base" for backbone in paper["backbones"]),
    ]


def test_a_comparator_on_a_backbone_of_no_preset(raw_config):
    """Its sizes come from its own entry; without them it is not forecast."""
    raw_config["backbones"]["other"] = raw_config["backbones"]["InternVL3-8B"] | {"label": "Other"}
    entry = {"label": "O", "reference": "E5-V-7B", "trained_on": "?", "backbone": "other", "readout": "zero_queries"}
    raw_config["comparators"]["other"] = entry
    raw_config["presets"]["paper"]["comparators"] = ["other"]
    config = load(raw_config | {"preset": "paper"})
    costs = row_costs(json.loads(cost_settings.forecast_settings(config)), {})
    known = {(cost.row, cost.set): cost.parts[0] for cost in costs}
    assert known["other", "coco"] == known["InternVL3-8B.zero_queries", "coco"]
    del config["backbones"]["other"]["architecture"]
    (unknown, _) = (c for c in row_costs(json.loads(cost_settings.forecast_settings(config)), {}) if c.row == "other")
    assert unknown.parts[0].reason == "no closed form of other, or no sizes"


def test_a_row_asks_a_cluster_for_what_it_takes(paper):
    """A quarter of an hour and half as much again as the high end; what is not forecast, for nothing of its own."""
    rows, needs = hours_of_rows(row_costs(paper, {})), row_needs(paper)
    assert list(needs) == list(rows)
    for name, need in needs.items():
        assert need is None if rows[name] is None else need.hours == pytest.approx(0.25 + 1.5 * rows[name].high)
    assert needs["InternVL3-8B.slq.by.base"].mem_gb == pytest.approx(4 + 8 + 15.9, rel=0.01)
    assert set(row_needs(paper | {"peak_tflops": None}).values()) == {None}


@pytest.mark.parametrize("preset", ["mini", "paper"])
def test_the_command_prints_rows_and_keeps_them(preset, raw_config, tmp_path, capsys):
    settings = cost_settings.forecast_settings(with_rows(raw_config, preset))
    files = ["--out", str(tmp_path / "cells.csv"), "--rows", str(tmp_path / "rows.csv")]
    assert main(["forecast", "--settings", settings, "--results", str(tmp_path), *files]) == 0
    printed = capsys.readouterr().out
    with open(tmp_path / "rows.csv", newline="") as file:
        kept = list(csv.DictReader(file))
    assert tuple(kept[0]) == FIELDS
    for part in kept:
        assert part["row"] in printed
        assert bool(part["flops"]) != bool(part["reason"])
        assert bool(part["hours_low"]) == (preset == "paper" and bool(part["flops"]))
    assert ("Hours of rows are not known" in printed) == (preset == "mini")
    assert {part["stage"] for part in kept} == {"embed", "rerank"}


def account(raw: dict) -> dict:
    return json.loads(cost_settings.account_settings(with_rows(raw, "paper")))


def told_row(root, name: str, *seconds: float, preset: str = "paper") -> None:
    events = Told(root / preset / "rows" / name / "events" / "retrieve.jsonl")
    events.begin_attempt()
    for each in seconds:
        events.span("eval", each)


def test_rows_are_a_stage_of_their_own_in_the_ledger(raw_config, tmp_path):
    told_row(tmp_path, "CLIP-ViT-B-32", 900)
    told_row(tmp_path, "InternVL3-1B.slq.by.base", 900, 900)
    lines = read_ledger(account(raw_config), tmp_path)
    assert [(line.backbone, line.method, line.seed, line.stage) for line in lines] == [
        ("", "CLIP-ViT-B-32", 0, ROWS),
        ("InternVL3-1B", "InternVL3-1B.slq.by.base", 0, ROWS),
    ]
    assert [line.total_hours for line in lines] == pytest.approx([0.5, 1.0])
    assert all(line.train_hours == 0 and line.pflop is None for line in lines)
    assert lines[1].source == f"{tmp_path}/paper/rows/InternVL3-1B.slq.by.base/events/retrieve.jsonl"


def test_table_a_shows_rows_and_leaves_training_as_it_was(raw_config, tmp_path):
    """Two rows of a backbone and a comparator; every cell of the runs is as it is without them."""
    runs = Runs(tmp_path / "results", "mini")
    for method in ("full_ft", "slq"):
        runs.run("mini-a", method, 10, DEVICE)
    before = tables(MINI, tmp_path / "results")
    asked = account(raw_config) | {"preset": "mini", "backbones": [], "methods": []}
    asked["rows"] = [{"name": name, "backbone": one} for name, one in (("x", ""), ("y", "mini-a"), ("z", "mini-a"))]
    for place, row in enumerate(asked["rows"]):
        told_row(tmp_path / "events", row["name"], 900 * (place + 1), preset="mini")
    (tmp_path / "results/mini/gpu_hours.csv").write_text(ledger_csv(read_ledger(asked, tmp_path / "events")))
    after = tables(MINI, tmp_path / "results")
    assert [cell(after["gpu_hours"], f"rows/{name}", "ours_total").value for name in ("mini-a", "comparators")] == [
        pytest.approx(2.5),
        pytest.approx(0.5),
    ]
    assert cell(after["gpu_hours"], "rows/mini-a", "ours").text == "0"
    assert cell(after["gpu_hours"], "rows/mini-a", "ours_total").source == "results/mini/gpu_hours.csv"
    for row, column in (("mini-a/slq", "ours"), ("mini-a/slq", "ours_total"), ("mini-a/full_ft", "ours_ratio")):
        assert cell(after["gpu_hours"], row, column) == cell(before["gpu_hours"], row, column)
    assert after["table3"].groups == before["table3"].groups


def test_an_empty_file_of_events_tells_of_nothing(raw_config, tmp_path):
    path = tmp_path / "paper/rows/CLIP-ViT-B-32/events/retrieve.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert read_ledger(account(raw_config), tmp_path) == []
