"""Methods by name: which exist, that finding them is cheap, and that no other file refers to one by name."""

import re
import subprocess
import sys

import pytest

from checkout import ROOT
from newmethod import NAME, SOURCE, added
from slq.common.errors import SlqError
from slq.methods.registry import BASE, find_method, list_methods

METHODS = ["base", "full_ft", "linear_head", "lora", "lora_queries", "slq"]
QUOTED = re.compile(rf"""["']({"|".join(METHODS)})["']""")
# Quoted names that mean something other than a method, by file: number of lines, and meaning.
OTHER_MEANINGS = {
    "workflow/slq/cli.py": (1, "the program"),
    "workflow/slq/claims/paper_audit.py": (1, "the check of base scores"),
    "workflow/slq/common/fingerprint.py": (3, "the package"),
    "workflow/slq/export/adapters.py": (1, "an export's folder with its base model"),
    "workflow/slq/export/card.md.j2": (1, "an option that names a copy of the base model"),
    "workflow/slq/export/folder.py": (3, "a key of retriever.json, the base model"),
    "workflow/slq/export/slq_retriever.py": (6, "the same key"),
    "workflow/slq/reporting/style.py": (1, "a salt of ids in figures"),
    "workflow/slq/sources/download.py": (1, "the program"),
}


def test_a_method_is_quoted_in_its_own_files_alone():
    """Apart from `slq/methods`, only config.yaml, reference data and tests quote one."""
    files = [ROOT / "Snakefile", *(path for path in (ROOT / "workflow").rglob("*") if path.is_file())]
    found = {}
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix not in (".pyc", ".safetensors") and not name.startswith("workflow/slq/methods/"):
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if QUOTED.search(line)]
            found |= {name: lines} if lines else {}
    counts = {name: count for name, (count, _) in OTHER_MEANINGS.items()}
    extra = {name: lines for name, lines in found.items() if len(lines) > counts.get(name, 0)}
    assert extra == {}, "a method is asked for what it is, and not for its name (docs/methods.md)"


def test_no_list_in_a_file_names_them():
    """YAML files contain names without quotes."""
    for path in [*(ROOT / "workflow/schemas").iterdir(), *(ROOT / "workflow/rules").iterdir()]:
        assert not re.search(r"\b(full_ft|lora)\b", path.read_text()), path


def test_there_are_the_papers_and_the_untouched_backbone():
    assert list_methods() == METHODS
    assert [find_method(name).name for name in METHODS] == METHODS
    assert [name for name in METHODS if not find_method(name).trains] == [BASE]


def test_to_find_them_imports_none_and_to_ask_them_no_torch():
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "workflow")!r})
from slq.methods.registry import find_method, list_methods
names = list_methods()
assert not any(f"slq.methods.{{name}}" in sys.modules for name in names), "imported before it was asked for"
for name in names:
    find_method(name).schema, find_method(name).plan
assert not {{"torch", "peft", "transformers"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(
        SlqError, match="there is no method 'mine'; expected one of base, full_ft, linear_head, lora, lora_queries, slq"
    ):
        find_method("mine")


def test_an_unknown_method_of_a_preset_is_told_by_its_key(raw_config):
    from slq.config.loading import validate_config

    raw_config["presets"]["mini"]["methods"].append("lorra")
    with pytest.raises(SlqError, match=r"presets\.mini\.methods\[4\] is 'lorra'; did you mean 'lora'\?"):
        validate_config(raw_config)


def test_hyperparameters_of_a_method_are_checked_by_its_own_schema(raw_config):
    from slq.config.loading import validate_config

    for change, message in [
        ({"rnak": 8}, r"hyperparameters\.lora\.rnak is not a key here; did you mean 'rank'\?"),
        ({"rank": 0.5}, r"hyperparameters\.lora\.rank is 0\.5; expected a whole number"),
        ({"dropout": 1}, r"hyperparameters\.lora\.dropout is 1; expected less than 1"),
    ]:
        raw = raw_config | {"presets": {"mini": raw_config["presets"]["mini"]}}
        lora = raw["presets"]["mini"]["hyperparameters"]["lora"]
        raw["presets"]["mini"]["hyperparameters"]["lora"] = lora | change
        with pytest.raises(SlqError, match=message):
            validate_config(raw)
        raw["presets"]["mini"]["hyperparameters"]["lora"] = lora


@pytest.mark.parametrize(("source", "count"), [("", 0), (SOURCE + "\n\nclass Another(InfusedAdapter):\n    pass\n", 2)])
def test_a_file_without_one_class_is_refused(tmp_path, source, count):
    with (
        added(tmp_path, source),
        pytest.raises(SlqError, match=rf"^slq/methods/{NAME}\.py: expected one subclass of Method, found {count} "),
    ):
        find_method(NAME)
