"""`slq sources`: the table of sources as printed, for the configuration of a clone."""

import os
from pathlib import Path

import pytest
import yaml

from checkout import ROOT
from slq.cli import main
from slq.jobs import configure_libraries


@pytest.fixture
def table(pristine, tmp_path, capsys, monkeypatch):
    """Function that prints the table with nothing fetched; returns its lines by first word, and the rest."""
    monkeypatch.chdir(tmp_path)

    def table(*arguments):
        status = main(["sources", "--config", str(pristine / "config.yaml"), *map(str, arguments)])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        head, _, tail = printed.out.partition("\n\n")
        return {line.split()[0]: line for line in head.splitlines()[1:]}, tail

    return table


def test_every_source_of_the_table_is_listed_with_its_cost_and_terms(table, raw_config):
    rows, tail = table()
    assert rows.keys() == raw_config["sources"].keys()
    for name, source in raw_config["sources"].items():
        gb = sum(part["gb"] for part in source["parts"])
        assert rows[name].split()[1:3] == [f"{gb:.2f}", "no"] and source["licence"] in rows[name]
        assert ("accept" in source) == (f"{name}: accept {source.get('accept')}" in tail)
    total = sum(part["gb"] for source in raw_config["sources"].values() for part in source["parts"])
    assert f"not here yet: {total:.1f} GB" in tail


def test_what_is_there_or_begun_is_told(table):
    for name, file in {"InternVL3-1B": "manifest.json", "InternVL3-8B": ".fetch/owner"}.items():
        path = Path("scratch/backbones") / name / file
        path.parent.mkdir(parents=True)
        path.touch()
    Path("scratch/sources/mmmu").mkdir(parents=True)
    Path("scratch/sources/mmmu/manifest.json").touch()
    rows, _ = table()
    assert [("not fetched here" in rows[name]) for name in ("InternVL3-1B", "InternVL3-8B")] == [False, True]
    assert [rows[name].split()[2] for name in ("InternVL3-1B", "InternVL3-8B", "mmmu", "coco")] == [
        "yes",
        "begun",
        "yes",
        "no",
    ]


def test_a_preset_lists_what_it_fetches(table, raw_config):
    paper = raw_config["presets"]["paper"]
    compared = [raw_config["baselines"][name] for name in paper["baselines"]]
    rows, _ = table("--preset", "paper")
    assert rows.keys() == {
        *paper["backbones"],
        *paper["reference_encoders"],
        *(entry.get("encoder") or entry["backbone"] for entry in compared if entry["kind"] == "comparator"),
        *paper["retrieval_datasets"],
        *paper["retention_datasets"],
    }
    assert table("--preset", "mini") == ({}, "not here yet: 0.0 GB of disk\n")


def test_every_place_has_the_same_sizes(table):
    """README.md and docs/data.md quote the total of `slq sources` word for word; docs/data.md has each source's GB."""
    rows, tail = table("--preset", "paper")
    words = tail.splitlines()[0].removeprefix("not here yet: ")
    assert words == "89.5 GB of disk, and 13.5 GB more while an archive is unpacked"
    readme, page = (" ".join((ROOT / name).read_text().split()) for name in ("README.md", "docs/data.md"))
    assert words in readme and words in page
    block = (ROOT / "docs/data.md").read_text().partition("$ slq sources")[2].partition("\n\n")[0].splitlines()[2:]
    assert {line.split()[0]: line.split()[1] for line in block} == {name: row.split()[1] for name, row in rows.items()}


def test_a_file_laid_over_counts(table, tmp_path):
    mine = {"sources": {"mmmu": {"parts": [{"dataset": "me/mine", "revision": "v1", "files": ["*.parquet"], "gb": 2}]}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    rows, _ = table("--config", tmp_path / "mine.yaml")
    assert rows["mmmu"].split()[1] == "2.00" and "dataset:me/mine@v1" in rows["mmmu"]


def test_a_preset_or_file_that_is_not_there_is_one_message(pristine, tmp_path, capsys):
    faults = [
        (["--preset", "papr"], "--preset papr: no such preset; expected one of mini, mini-evidence, paper"),
        (["--config", "no.yaml"], "no.yaml"),
    ]
    for arguments, words in faults:
        assert main(["sources", "--config", str(pristine / "config.yaml"), *arguments]) == 1
        message = capsys.readouterr().err
        assert message.startswith("slq: error: ") and words in message and message.count(os.linesep) == 1


def test_only_fetching_asks_a_server(monkeypatch):
    for fetching, expected in ((True, None), (False, "1")):
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        configure_libraries(None, 1, fetching)
        assert os.environ.get("HF_HUB_OFFLINE") == expected
