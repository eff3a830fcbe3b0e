"""Results written by a version before 0.2.0, with other keys and folders: refused by name."""

import tomllib
from pathlib import Path

import pytest
import yaml

from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.common.schema import VERSION, require_schema
from slq.evaluation.rescoring import rescore_folder
from slq.reporting.tables import render
from stored import CPU, MINI, REFERENCE, ROOT, TEMPLATES, Runs


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["version"], yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]} == {VERSION}


@pytest.mark.parametrize("name", ["rows", "instrument.json"])
def test_a_folder_with_an_earlier_name_in_it_is_refused_by_the_tables(tmp_path: Path, name: str) -> None:
    Runs(tmp_path / "results", "mini").run("mini-a", "slq", 10, CPU)
    (tmp_path / "results/mini" / name).mkdir()
    message = rf"results/mini: contains {name}: written by a version before 0\.2\.0, and this is slq {VERSION}; move"
    with pytest.raises(SlqError, match=message):
        render(MINI, tmp_path / "results", REFERENCE, TEMPLATES, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_an_earlier_schema_is_refused_by_the_tables(tmp_path: Path) -> None:
    Runs(tmp_path / "results", "mini").run("mini-a", "slq", 10, CPU)
    (path,) = (tmp_path / "results").rglob("run.json")
    write_json(path, read_json(path) | {"schema": 1})
    message = rf"run\.json: schema 1, not 2: written by a version before 0\.2\.0, and this is slq {VERSION}; make the"
    with pytest.raises(SlqError, match=message):
        render(MINI, tmp_path / "results", REFERENCE, TEMPLATES, tmp_path / "out")


def test_scoring_says_so_of_a_file_that_inherited_its_numbers(tmp_path: Path) -> None:
    """It inherits under a key that is no longer read; the message must not call its answers missing."""
    path = tmp_path / "slq/seed1/retention/mini-r.json"
    write_json(path, {"schema": 3, "equals": "mini/a/base/seed0/retention/mini-r.json"})
    with pytest.raises(SlqError, match=r"mini-r\.json: schema 3, not 4: written by a version before 0\.2\.0"):
        rescore_folder(tmp_path, write=False)


@pytest.mark.parametrize("content", [{}, {"schema": None}, {"schema": 3}, [], None])
def test_another_schema_is_not_taken_for_an_earlier_one(content: object) -> None:
    with pytest.raises(SlqError, match=r"^x: key schema is (None|3); expected 2: make it"):
        require_schema(Path("x"), content, 2, "make it")
