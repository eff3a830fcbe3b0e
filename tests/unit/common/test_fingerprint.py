"""What an edit of the package makes due: fingerprints follow what a rule's command imports, and nothing else."""

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import time

import pytest

from checkout import ROOT
from slq import cli
from slq.commands.arguments import LazyCall
from slq.common.fingerprint import (
    EXEMPT_MODULES,
    PACKAGE,
    _hash_data_files,
    _module_path,
    _parse_module,
    import_closure,
    source_fingerprint,
)
from slq.config import baseline_settings, job_settings
from slq.config.baselines import list_baselines
from slq.config.loading import validate_config

CODE = '''"""Says what it is."""


def double(value):
    """Twice."""
    return 2 * value
'''
OWN = "qwen3_vl"  # the family of the jobs here
BODIES = {
    rule: body
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for rule, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", path.read_text(), re.MULTILINE | re.DOTALL)
}
# By rule, the modules that it names; and of no rule what generates an answer: finished answers of another version of it
# are not continued.
NAMED = {
    rule: re.search(r"^        code=rule_fingerprint\((.*)\),", body, re.MULTILINE) for rule, body in BODIES.items()
}
ENTRIES = {rule: tuple(re.findall(r'"(.*?)"', found[1])) for rule, found in NAMED.items() if found}
ENTRIES |= {"train": ("slq.training.run",), "generation": ("slq.evaluation.generation", "slq.methods.adapter")}
RULES = sorted(set(ENTRIES) - {"generation"})
TRAINS = {"cache_features", "train", "sweep_learning_rates"}
EVALUATES = {
    "evaluate_retrieval",
    "evaluate_retention",
    "check_equivalence",
    "evaluate_blind",
    "evaluate_encoder_baseline",
    "evaluate_reranking",
    "measure_pilot",
    "generation",
}
RENDERS = {"render_tables", "draw_figures", "judge_claims", "compare_paper", "write_page", "draw_queries"}


def package(folder, **edits):
    """A copy of the package; of each edit, by the module's path, an old text and a new one."""
    copy = shutil.copytree(PACKAGE, folder / "slq", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in edits.items():
        path = copy / f"{name}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    return copy


def fingerprints(folder=PACKAGE):
    """By rule, of jobs of one family and of the method `slq` with the dual encoder `clip`."""
    return {
        name: source_fingerprint(*entries, families=[OWN], dual_encoders=["clip"], methods=["slq"], package=folder)
        for name, entries in ENTRIES.items()
    }


def changed(folder):
    before, after = fingerprints(), fingerprints(folder)
    return {name for name in before if before[name] != after[name]}


def small(folder, text=CODE, name="b"):
    """A package of a module, and of one that it imports."""
    (folder / "slq/a").mkdir(parents=True)
    for place in ("slq/__init__.py", "slq/a/__init__.py"):
        (folder / place).write_text("")
    (folder / "slq/a/entry.py").write_text(f"def work():\n    from slq.a import {name}\n")
    (folder / f"slq/a/{name}.py").write_text(text)
    return source_fingerprint("slq.a.entry", package=folder / "slq")


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("Says what it is.", "Says something else.", True),
        ('    """Twice."""\n', "", True),
        ("    return", "    # a reason\n    return", True),
        ("return 2 * value", "return (2  *  value)", True),
        ("return 2 * value", "return 3 * value", False),
        ("double", "twice", False),
    ],
)
def test_code_counts_and_comments_do_not(tmp_path, old, new, same):
    assert old in CODE
    before, after = small(tmp_path / "one"), small(tmp_path / "two", CODE.replace(old, new))
    assert (before == after) is same


def test_a_renamed_module_counts(tmp_path):
    assert small(tmp_path / "one") != small(tmp_path / "two", name="c")


def test_a_comment_in_every_module_and_other_docstrings_change_nothing(tmp_path):
    copy = package(tmp_path)
    for path in copy.rglob("*.py"):
        tree = ast.parse(path.read_text())
        text = path.read_text() + "\n# A remark.\n"
        if ast.get_docstring(tree) is not None:
            text = text.replace('"""', '"""Otherwise: ', 1)
        path.write_text(text)
    assert changed(copy) == set()


def test_how_an_image_becomes_a_message_is_code_of_all_that_read_images(tmp_path):
    edit = (
        "tokenize_message(backbone, message_parts(image, instruction))",
        "tokenize_message(backbone, message_parts(image, instruction + ' '))",
    )
    due = changed(package(tmp_path, **{"caching/feature_cache": edit}))
    assert (
        TRAINS
        | {"evaluate_retrieval", "evaluate_retention", "check_equivalence", "evaluate_blind", "evaluate_reranking"}
        <= due
    )
    assert due.isdisjoint({"make_synthetic_split", "audit", "count_gpu_hours", *RENDERS})


def test_what_is_behind_a_transparent_image_is_code_of_stored_prefixes_too(tmp_path):
    due = changed(
        package(
            tmp_path,
            **{"datasets/image_conversion": ("BACKGROUND = (255, 255, 255, 255)", "BACKGROUND = (254, 255, 255, 255)")},
        )
    )
    assert TRAINS | EVALUATES | {"pretrain_backbone", "pretrain_encoder", "audit", "check_reference_recalls"} <= due
    assert due.isdisjoint({"count_gpu_hours", *RENDERS} - {"draw_queries"})


def test_another_method_is_no_code_of_a_run(tmp_path):
    """What tables print of it stands in their settings."""
    assert changed(package(tmp_path, **{"methods/lora": ('"gate", "up", "down")', '"gate", "up")')})) == set()
    own = changed(package(tmp_path / "own", **{"methods/slq": ("manual_seed(seed)", "manual_seed(seed + 1)")}))
    assert {"train", "sweep_learning_rates", "generation", "evaluate_retrieval"} <= own


def test_the_loss_is_code_of_trainings_and_of_no_evaluation(tmp_path):
    due = changed(package(tmp_path, **{"training/loss": ("def info_nce", "MORE = 1\n\n\ndef info_nce")}))
    assert due == {"train", "sweep_learning_rates", "pretrain_encoder"}


def test_a_scorer_generates_no_answer(tmp_path):
    due = changed(
        package(tmp_path, **{"evaluation/answer_matching": ("def normalise_text", "MORE = 1\n\n\ndef normalise_text")})
    )
    assert {"evaluate_retention", "check_equivalence", "evaluate_blind", "render_tables"} <= due
    assert due.isdisjoint({"generation", "evaluate_retrieval", "evaluate_encoder_baseline", "train"})


@pytest.mark.parametrize(
    ("module", "kind"), [("hub_columns", "def prepare_questions"), ("annotations", "def read_flickr_photo_ids")]
)
def test_how_a_source_is_read_is_code_of_its_preparation(tmp_path, module, kind):
    due = changed(package(tmp_path, **{f"datasets/{module}": (kind, f"MORE = 1\n\n\n{kind}")}))
    assert "prepare_split" in due and due.isdisjoint({"train", "evaluate_retrieval", "render_tables"})


def test_a_list_that_a_module_reads_is_code(tmp_path):
    copy = package(tmp_path)
    (copy / "datasets/lists/coco_val2017.txt").write_text("000000000139\n")
    assert changed(copy) == {"prepare_split", "import_local_split", "make_synthetic_split", "paper_audit"}


def test_adapters_of_others_make_nothing_due(tmp_path):
    copy = package(tmp_path, **{"models/families/internvl": ("class ", "MORE = 1\n\n\nclass ")})
    for kind, name in (("families", "internvl"), ("dual_encoders", "blip")):
        (copy / f"models/{kind}/more.py").write_text((copy / f"models/{kind}/{name}.py").read_text())
    assert changed(copy) == set()
    own = package(tmp_path / "own", **{f"models/families/{OWN}": ("class ", "MORE = 1\n\n\nclass ")})
    assert TRAINS | EVALUATES | {"pretrain_backbone"} <= changed(own)


@pytest.mark.parametrize("preset", ["mini", "paper"])
def test_a_family_more_makes_no_row_due(preset, raw_config, tmp_path):
    """Nor does a dual encoder more, but where its kind is known only once it is fetched."""
    config = validate_config(raw_config | {"preset": preset})
    copy = package(tmp_path)
    shutil.copy(ROOT / "tests/third_family/llava.py", copy / "models/families")
    (copy / "models/dual_encoders/more.py").write_text("MORE = 1\n")
    rules = {True: "evaluate_encoder_baseline", False: "evaluate_reranking"}
    seen = set()
    for row in list_baselines(config):
        used = baseline_settings.baseline_adapters(config, row)
        entries = ENTRIES[rules[row.is_embedding_based]]
        same = source_fingerprint(*entries, **used) == source_fingerprint(*entries, **used, package=copy)
        assert same == (used["dual_encoders"] is not None), row.name
        seen |= set(used["families"])
    assert seen >= {config["backbones"][name]["family"] for name in config["presets"][preset]["backbones"]}
    assert job_settings.used_adapters(config, encoders=["mini-clip"]) == {"families": [], "dual_encoders": ["clip"]}
    assert job_settings.used_adapters(config, encoders=["CLIP-ViT-B-32"]) == {"families": [], "dual_encoders": None}


def test_every_module_that_a_command_imports_is_code_of_its_rule():
    """By importing each entry in a process of its own and looking at what is there then."""
    program = """
import importlib, json, os, sys
import matplotlib.pyplot, numpy, pandas, peft, pyarrow.parquet, torch, transformers
found = {}
for name, entries in json.loads(sys.argv[1]).items():
    ours, theirs = os.pipe()
    if not (child := os.fork()):
        for entry in entries:
            importlib.import_module(entry)
        loaded = [one for one in sys.modules if one == "slq" or one.startswith("slq.")]
        os.write(theirs, json.dumps(loaded).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as file:
        found[name] = json.loads(file.read())
    os.waitpid(child, 0)
print(json.dumps(found))
"""
    families = {"slq.models.families.internvl", "slq.models.dual_encoders.clip"}
    entries = {name: list(entries) for name, entries in ENTRIES.items()} | {one: [one] for one in families}
    answer = subprocess.run(
        [sys.executable, "-c", program, json.dumps(entries)],
        cwd=ROOT / "workflow",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr
    for name, loaded in json.loads(answer.stdout).items():
        static = set(import_closure(*entries[name], families=[], dual_encoders=[]))
        assert set(loaded) - set(EXEMPT_MODULES) <= static, name
        assert static & set(loaded) and set(entries[name]) <= set(loaded)


def modules_of(command):
    """Modules of the functions that a subcommand calls."""
    if isinstance(command, LazyCall):
        return {command.target.partition(":")[0]}
    imports = [node for node in ast.walk(ast.parse(inspect.getsource(command))) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    return {name if _module_path(name, PACKAGE) else name.rpartition(".")[0] for name in names}


def test_rules_name_the_modules_that_their_commands_call():
    """By each subcommand's function, or its imports; what starts processes decides no result."""
    starts = {"slq.training.distributed", "slq.common.files"}
    found = set()
    for rule, body in BODIES.items():
        words = re.search(r'^        "slq ([a-z-]+) (\w+)?', body, re.MULTILINE)
        if words is None or rule in ("fetch_source", "forecast"):
            continue
        name = f"{words[1]} {words[2]}" if f"{words[1]} {words[2]}" in cli.COMMANDS else words[1]
        called = modules_of(cli.COMMANDS[name][0]) - starts
        named = {*ENTRIES[rule], *(["slq.evaluation.retrieval"] if rule == "train" else [])}
        assert named <= called <= set(import_closure(*named)), rule
        assert ("        code=training_fingerprint," in body) == (rule == "train")
        found.add(rule)
    assert found == set(RULES)


def test_what_generates_an_answer_is_named_by_the_two_rules_that_keep_answers():
    expected = f"        generation=rule_fingerprint({', '.join(json.dumps(name) for name in ENTRIES['generation'])}),"
    assert {rule for rule, body in BODIES.items() if "generation=" in body} == {"evaluate_retention", "evaluate_blind"}
    assert all(expected in BODIES[rule] for rule in ("evaluate_retention", "evaluate_blind"))


def test_modules_are_found_by_name_in_three_rooms_alone():
    """A fingerprint sees an import by name only in this form."""
    rooms = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                (place,) = _parse_module(path).adapter_packages
                rooms.add(place)
    assert rooms == {"slq.models.families", "slq.models.dual_encoders", "slq.methods"}


def test_few_modules_are_exempt_each_with_its_reason():
    assert len(EXEMPT_MODULES) <= 8 and all(EXEMPT_MODULES.values())
    for name in EXEMPT_MODULES:
        assert import_closure(name) != []
    assert "slq.common.attempts" in import_closure(
        *ENTRIES["count_gpu_hours"]
    ) and "slq.common.attempts" not in import_closure(*ENTRIES["train"])


def test_all_fingerprints_take_less_than_a_second():
    """Every job on a cluster reads the Snakefile."""
    for known in (_parse_module, _module_path, _hash_data_files):
        known.cache_clear()
    before = time.process_time()
    fingerprints()
    assert time.process_time() - before < 2
