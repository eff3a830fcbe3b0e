"""The audit of the paper's own tables: each finding agrees with separate arithmetic, and correct tables give none."""

import csv
import re
from collections import Counter
from math import sqrt

import pytest

from slq.claims.paper_audit import audit_paper
from slq.common.files import read_json
from slq.config.cost_settings import paper_audit_settings
from slq.config.loading import validate_config
from stored import REFERENCE, ROOT, reference_rows

MARKED_WRONG = {  # read by eye from the poster
    ("SLQ (InternVL3-1B)", "flickr30k i2t R@10"),
    ("SLQ (Qwen3VL-4B)", "coco i2t R@1"),
    ("VLM2VEC-7B", "coco i2t R@1"),
    ("BLIP ViT-L", "coco i2t R@5"),
    ("VLM2VEC-7B", "coco i2t R@5"),
    ("E5-V-7B", "coco t2i R@10"),
}


@pytest.fixture
def reference(tmp_path):
    """Copy of the paper's values, in the layout of a project, that a test may change."""
    folder = tmp_path / "paper_tables" / "reference"
    folder.mkdir(parents=True)
    for path in REFERENCE.glob("*.csv"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def audited(reference, raw_config):
    """Function that audits the current copy and returns findings and checks by id."""
    settings = paper_audit_settings(validate_config(raw_config))

    def audit():
        audit_paper(settings, reference, reference.parent / "audit.json")
        content = read_json(reference.parent / "audit.json")
        assert content["schema"] == 2
        return {one["id"]: one for one in content["findings"]}, {one["id"]: one for one in content["checks"]}

    return audit


def change(reference, table, where, **values):
    """Rewrite the one row of a table that matches `where`."""
    with open(reference / f"{table}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = (row for row in rows if all(row[key] == value for key, value in where.items()))
    row |= values
    write(reference, table, rows)


def write(reference, table, rows):
    with open(reference / f"{table}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def places(finding):
    return {(cell["row"], cell["column"]) for cell in finding["cells"]}


def table3():
    """Printed cells of Table 3 by backbone, method and column."""
    return {(row["backbone"], row["method"], row["column"]): row["printed"] for row in reference_rows("table3")}


def test_it_finds_this_and_nothing_else(audited):
    findings, checks = audited()
    assert {name: (one["num_contradicted"], one["num_tested"]) for name, one in checks.items()} == {
        "marks-table1": (6, 126),
        "marks-table3": (0, 108),
        "parameters": (4, 4),
        "shares": (7, 230),
        "base": (12, 36),
        "noise": (21, 56),
        "hours": (8, 8),
        "overlap": (4407, 5000),
    }
    assert set(findings) == {name for name, one in checks.items() if one["num_contradicted"]}
    for finding in findings.values():
        assert finding["statement"] and finding["arithmetic"] and finding["title"]
        for cell in finding["cells"]:
            assert set(cell) == {"table", "row", "column", "value"} and cell["table"] in (
                "Table 1",
                "Table 3",
                "base_scores.csv",
            )


# ---- marks -----------------------------------------------------------------------------------------------------------


def test_six_marks_of_table1_are_not_what_the_numbers_give(audited):
    finding = audited()[0]["marks-table1"]
    assert places(finding) == MARKED_WRONG
    assert any("best: 69.6 of SLQ (InternVL3-8B); second: 68.5 of VLM2VEC-7B" in line for line in finding["arithmetic"])


def test_a_corrected_table_has_no_finding_and_a_planted_mark_is_found(audited, reference):
    rows = reference_rows("table1")
    for row in rows:
        if (row["model"], f"{row['dataset']} {row['direction']} {row['metric']}") in MARKED_WRONG:
            row["mark"] = "" if row["mark"] else "underline"
    write(reference, "table1", rows)
    findings, checks = audited()
    assert "marks-table1" not in findings and checks["marks-table1"]["num_contradicted"] == 0
    planted = next(row for row in rows if row["model"] == "FLAME" and row["dataset"] == "coco")
    planted["mark"] = "bold"
    write(reference, "table1", rows)
    assert places(audited()[0]["marks-table1"]) == {("FLAME", "coco i2t R@1")}


def test_a_wrong_mark_of_table3_is_found(audited, reference):
    place = {"backbone": "Qwen3-VL-4B", "method": "lora", "column": "gpu_hours"}
    change(reference, "table3", place, mark="bold")
    assert places(audited()[0]["marks-table3"]) == {("Qwen3-VL-4B/lora", "gpu_hours")}


# ---- scores of base -------------------------------------------------------------------------------------------------


def test_the_scores_of_slq_are_the_published_ones_of_base(audited):
    bases = {(row["backbone"], row["benchmark"]): row["value"] for row in reference_rows("base_scores")}
    same = {(f"{b}/{m}", column) for (b, m, column), value in table3().items() if bases.get((b, column)) == value}
    finding = audited()[0]["base"]
    assert places(finding) == same and {row.split("/")[1] for row, _ in same} == {"slq"}
    assert "(Full FT 0 of 12, LoRA 0 of 12, SLQ 12 of 12)" in finding["statement"]


# ---- parameters ------------------------------------------------------------------------------------------------------


def test_no_number_of_queries_fits(audited):
    """Brute force over N finds no number that fits every backbone."""
    finding = audited()[0]["parameters"]
    widths = {row["backbone"]: int(row["dim"]) for row in reference_rows("table3")}
    fits = [
        {n for n in range(1, 200) if f"{int(n * width / 1000 + 0.5)}k" == table3()[backbone, "slq", "parameters"]}
        for backbone, width in widths.items()
    ]
    assert fits == [{40}, set(), set(), set()]
    assert len(finding["cells"]) == 4 and "no N" in finding["arithmetic"][1]


def test_counts_that_one_number_gives_are_no_finding(audited, reference):
    for backbone, printed in (("Qwen3-VL-2B", "82k"), ("Qwen3-VL-4B", "102k"), ("InternVL3-8B", "143k")):
        place = {"backbone": backbone, "method": "slq", "column": "parameters"}
        change(reference, "table3", place, printed=printed)
    findings, checks = audited()
    assert "parameters" not in findings and checks["parameters"] == {
        **{"id": "parameters", "title": checks["parameters"]["title"], "num_tested": 4, "num_contradicted": 0}
    }


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_six_scores_and_one_of_base_are_no_share_of_765(audited):
    """Qwen3-VL-4B's 70.9 is also base's score, in base_scores.csv."""
    cannot = {
        (f"{b}/{m}", column)
        for (b, m, column), value in table3().items()
        if column == "realworldqa" and not any(abs(100 * k / 765 - float(value)) <= 0.05 for k in range(766))
    }
    finding = audited()[0]["shares"]
    assert places(finding) == cannot | {("Qwen3-VL-4B/base", "realworldqa")} and len(cannot) == 6


def test_gaps_within_noise_are_those_of_wilsons_interval(audited):
    """The oracle is Wilson's interval in its textbook form, around the number that SLQ's row prints."""
    counts = {"mmmu": 900, "realworldqa": 765, "ocrbench": 1000}
    counts |= {"flickr30k_i2t_R@5": 1000, "flickr30k_t2i_R@5": 5000, "coco_i2t_R@5": 5000, "coco_t2i_R@5": 25000}
    inside = set()
    for (backbone, method, column), printed in table3().items():
        if column not in counts or method == "slq":
            continue
        n, unit = counts[column], (10 if column == "ocrbench" else 1)
        p = round(float(table3()[backbone, "slq", column]) / unit * n / 100) / n
        z = 1.959964
        middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = (100 * unit * (middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
        if low <= float(printed) <= high:
            inside.add((f"{backbone}/{method}", column.replace("_", " ")))
    assert places(audited()[0]["noise"]) == inside


# ---- hours, overlap --------------------------------------------------------------------------------------------------


def test_hours_are_further_apart_than_flops(audited):
    """FLOPs differ by two to one at most: backward costs two forwards, one forward is repeated, SLQ has a backward."""
    finding = audited()[0]["hours"]
    read = [
        re.search(r"= ([\d.]+); ratio of FLOPs ([\d.]+), with recomputed activations ([\d.]+)", line)
        for line in finding["arithmetic"]
    ]
    ratios = [[float(text) for text in found.groups()] for found in read]
    hours = table3()
    expected = [
        float(hours[b, m, "gpu_hours"]) / float(hours[b, "slq", "gpu_hours"])
        for b in dict.fromkeys(backbone for backbone, _, _ in hours)
        for m in ("full_ft", "lora")
    ]
    assert [printed for printed, _, _ in ratios] == [pytest.approx(value, abs=0.005) for value in expected]
    assert all(0.8 < once < again < 2 < printed for printed, once, again in ratios)


def test_hours_that_flops_explain_are_no_finding(audited, reference):
    change(reference, "table3", {"backbone": "InternVL3-1B", "method": "lora", "column": "gpu_hours"}, printed="4.0")
    assert ("InternVL3-1B/lora", "gpu_hours") not in places(audited()[0]["hours"])


def test_the_training_list_holds_test_images(audited):
    lists = ROOT / "workflow/slq/datasets/lists"
    tested, val = ((lists / f"{name}.txt").read_text().split() for name in ("coco_karpathy_test", "coco_val2017"))
    assert Counter(one in set(val) for one in tested)[False] == 4407
    assert "4,407 of the 5,000 test images of COCO (88.1 %)" in audited()[0]["overlap"]["statement"]
