"""Kinds of baselines by name: what a file must define, and that finding kinds is cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import slq.baselines.kinds
from checkout import ROOT
from slq.baselines.registry import BaselineKind, find_kind, list_kinds
from slq.common.errors import SlqError
from slq.config.baseline_settings import baseline_settings
from slq.config.loading import validate_config

SOURCE = '''
"""The images in the order of their names, whatever is asked."""

from slq.baselines.registry import BaselineKind, entry_schema


class Alphabet(BaselineKind):
    schema = entry_schema("An order.", {}, label={"type": "string", "description": "In print."})
    on_each_backbone = False
    table_group = "Orders"

    def describe(self, config, entry):
        return {"label": entry["label"]}

    def inputs(self, config, entry):
        return {}

    def settings(self, config, entry):
        return {"order": "by name"}

    def evaluate(self, settings, inputs, data, out, events):
        return None, iter(())
'''
NAME = "alphabet"


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Function that writes a file beside the package's own kinds."""
    monkeypatch.setattr(slq.baselines.kinds, "__path__", [*slq.baselines.kinds.__path__, str(tmp_path)])

    def forget():
        list_kinds.cache_clear()
        find_kind.cache_clear()
        sys.modules.pop(f"slq.baselines.kinds.{NAME}", None)

    def write(source):
        (tmp_path / f"{NAME}.py").write_text(source)
        forget()

    yield write
    forget()


def without(part: str) -> str:
    """Source of the file with one part of its class removed."""
    tree = ast.parse(SOURCE)
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    left = [node for node in found.body if part not in (getattr(node, "name", ""), ast.unparse(node).split(" = ")[0])]
    assert len(left) == len(found.body) - 1
    found.body = left
    return ast.unparse(tree)


def test_there_are_three():
    assert list_kinds() == ["comparator", "rerank", "zero_shot"]
    assert [find_kind(name).name for name in list_kinds()] == list_kinds()
    with pytest.raises(SlqError, match="there is no kind of baseline 'mine'; expected one of comparator, rerank, zero"):
        find_kind("mine")


def test_a_new_kind_is_one_file_and_its_entries(add, raw_config):
    add(SOURCE)
    raw_config["baselines"]["abc"] = {"kind": NAME, "label": "A to Z"}
    raw_config["presets"]["mini"]["baselines"] = ["abc"]
    settings = baseline_settings(validate_config(raw_config), "abc")
    assert settings["kind"] == NAME and settings["order"] == "by name"
    raw_config["baselines"]["abc"]["lable"] = "A to Z"
    with pytest.raises(SlqError, match=r"baselines\.abc\.lable is not a key here; did you mean 'label'"):
        validate_config(raw_config)


@pytest.mark.parametrize(
    "part", ["schema", "on_each_backbone", "table_group", *sorted(BaselineKind.__abstractmethods__)]
)
def test_a_class_without_a_part_is_refused_by_one_message(add, raw_config, part):
    add(without(part))
    with pytest.raises(
        SlqError, match=rf"^slq/baselines/kinds/{NAME}\.py: the class Alphabet has no `{part}`.* add it"
    ):
        validate_config(raw_config)


def test_to_find_them_imports_none_and_to_ask_them_no_torch():
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow")!r})
from slq.baselines.registry import find_kind, list_kinds
names = list_kinds()
assert not any(f"slq.baselines.kinds.{{name}}" in sys.modules for name in names), "imported before it was asked for"
from slq.config.loading import load_merged_config
from slq.config.job_settings import list_baselines
from pathlib import Path
assert list_baselines(load_merged_config([Path({str(Path(ROOT) / "config.yaml")!r})]))
assert not {{"torch", "transformers"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
