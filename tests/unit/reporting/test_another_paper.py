"""An invented paper of four cells: claims, audit, tables and page need only its reference files and a layout."""

import csv
import itertools
import re

import pytest
import yaml

from asjob import run_job
from judged import PROVENANCE, answers
from slq.common.files import read_json, write_json
from stored import METHOD_KEYS, TEMPLATES, Runs, write_answers, write_ranks

COLUMNS = {
    "table1": "group,model,dataset,direction,metric,value,mark,source",
    "table3": "backbone,dim,method,column,value,printed,mark,source",
    "benchmarks": "benchmark,direction,n,gallery,positives,unit,note,source",
    "base_scores": "backbone,benchmark,value,evidence,source",
    "reference_recalls": "model,dataset,direction,metric,value,tolerance,source",
}
ROWS = {
    "table1": [
        "Before,Old,books,t2i,R@5,40.0,bold,invented",
        "Before,Older,books,t2i,R@5,45.0,,invented",
    ],
    "table3": [
        "Tiny-1B,64,lora,quiz,33.5,33.5,,invented",
        "Tiny-1B,64,slq,quiz,90.0,90.0,bold,invented",
    ],
    "benchmarks": [
        "books,t2i,200,40,1,percent,a page by its line,invented",
        "books,i2t,40,200,5,percent,a line by its page,invented",
        "quiz,,100,,,percent,all questions,invented",
    ],
    "base_scores": ["Tiny-1B,quiz,90.0,paper,invented"],
    "reference_recalls": [],
}
CLAIMS = [
    {
        **{"id": "finds-more", "sentence": "SLQ finds more pages than Older.", "where": "Table 1"},
        "test": {"test": "above", "of": "slq", "models": ["Older"], "datasets": ["books"], "metrics": ["t2i R@5"]}
        | {"backbones": "all"},
    },
    {
        **{"id": "knows-more", "sentence": "SLQ answers more of the quiz than LoRA.", "where": "Table 3"},
        "test": {"test": "higher", "of": "slq", "than": "lora", "datasets": ["quiz"], "backbones": "each"},
    },
]
LAYOUT = METHOD_KEYS | {
    "preset": "invented",
    "seeds": [1, 2, 3],
    "table3_base": False,
    "baselines": [],
    "backbones": [{"name": "Tiny-1B", "label": "Tiny", "paper_name": "Tiny-1B"}],
    "methods": ["lora", "slq"],
    "retrieval_datasets": [{"name": "books", "label": "Books", "paper_name": "books"}],
    "knowledge_datasets": [],
    "retention_datasets": [{"name": "quiz", "label": "Quiz", "paper_name": "quiz"}],
}

AUDIT_SETTINGS = {"proposed_method": LAYOUT["proposed_method"], "backbones": []}


@pytest.fixture
def paper(tmp_path):
    """Project with the invented paper's reference files and our runs: SLQ finds everything and answers 90, LoRA 20."""
    reference = tmp_path / "paper_tables" / "reference"
    reference.mkdir(parents=True)
    for name, columns in COLUMNS.items():
        (reference / f"{name}.csv").write_text("\n".join([columns, *ROWS[name]]) + "\n")
    (reference / "claims.yaml").write_text(yaml.safe_dump({"claims": CLAIMS}))
    methods = (("lora", 9, 20), ("slq", 1, 90))
    for (method, rank, right), seed in itertools.product(methods, LAYOUT["seeds"]):
        runs = Runs(tmp_path / "results", "invented", seed)
        runs.run("Tiny-1B", method, 10, {"kind": "cpu", "name": "x", "count": 1}, provenance=PROVENANCE)
        folder = runs.folder("Tiny-1B", method)
        write_ranks(folder / "retrieval" / "books.json", [rank] * 200, [rank] * 40)
        write_answers(folder / "retention" / "quiz.json", "realworldqa", "vlmevalkit-exact-2", answers(right))
    return tmp_path


def run_on(paper, job, *known, **more):
    """Run one of our jobs on the paper's files; `known` names the files that the job accepts."""
    files = {"results": paper / "results", "reference": paper / "paper_tables/reference", "templates": TEMPLATES}
    assert run_job(job, **{name: files[name] for name in known}, **more) == 0


def test_four_files_of_another_paper_are_enough(paper):
    layout, out = {"layout": LAYOUT}, paper / "paper_tables/invented"
    verdicts = paper / "results/invented/claims.json"
    run_on(paper, "judge_claims", "results", "reference", settings=LAYOUT | {"synthetic": []}, out=verdicts)
    found = {claim["id"]: claim["verdict"] for claim in read_json(verdicts)["claims"]}
    assert found == {"finds-more": "supported", "knows-more/Tiny-1B": "supported"}

    run_on(paper, "paper_audit", "reference", settings=AUDIT_SETTINGS, out=paper / "paper_tables/audit.json")
    audit = read_json(paper / "paper_tables/audit.json")
    counts = {
        check["id"]: (check["num_contradicted"], check["num_tested"])
        for check in audit["checks"]
        if check["num_tested"]
    }
    # Old is bold though Older is better; 33.5 is not a share of a hundred; SLQ's score equals base's.
    assert counts == {
        **{"marks-table1": (2, 2), "marks-table3": (0, 2), "shares": (1, 5), "base": (1, 2), "noise": (0, 1)},
    }
    assert [finding["id"] for finding in audit["findings"]] == ["marks-table1", "shares", "base"]

    run_on(paper, "render_tables", "results", "reference", "templates", values=layout, output=out)
    with open(out / "cells.csv", newline="") as file:
        cells = {(cell["table"], cell["row"], cell["column"]): cell for cell in csv.DictReader(file)}
    assert cells["table1", "Old", "books t2i R@5"]["value"] == "40.0"
    assert cells["table3", "Tiny-1B/slq", "quiz"]["value"] == "90.0"
    columns = {column for table, _, column in cells if table == "table3"}
    assert columns == {"dim", "parameters", "hours", "quiz", "books t2i R@5", "books i2t R@5"}

    base_check = paper / "results/invented/base_check.json"
    run_on(paper, "check_base_scores", "results", "reference", values=layout, out=base_check)
    write_json(paper / "results/invented/compare/paper.json", compared())
    files = {"audit": paper / "paper_tables/audit.json", "figures": []}
    run_on(paper, "write_page", "results", "templates", values=layout | {"plan": "0" * 64}, out=out, **files)
    page = (out / "report.html").read_text()
    assert "Of the paper&#39;s 2 claims: 2 supported." in page and "SLQ answers more of the quiz than LoRA." in page
    assert not re.search("COCO|Flickr|MMMU", page.partition("<body>")[2].replace("SLQ: Bridging", ""))


def compared():
    nothing = {"name": "paper", "kind": "paper", "what": "invented"}
    return {"schema": 2, "preset": "invented", "a": nothing, "b": nothing, "cells": [], "differences": [], "counts": {}}
