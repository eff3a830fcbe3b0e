"""Fingerprints of code: they follow the code that a job's function imports, and nothing else."""

import ast
import json
import shutil
import time
from dataclasses import replace

import pytest

from checkout import ROOT
from slq.baselines.registry import find_baselines, list_kinds
from slq.common.fingerprint import (
    EXEMPT_MODULES,
    PACKAGE,
    REPORTING_PACKAGES,
    _hash_data_files,
    _module_path,
    _parse_module,
    fingerprint,
    import_closure,
)
from slq.config import baseline_settings, job_settings
from slq.config.loading import validate_config
from slq.jobs import JOBS

CODE = '''"""Says what it is."""


def double(value):
    """Twice."""
    return 2 * value
'''
OWN = "qwen3_vl"  # the family of the jobs here
# The entries of each job. Generation is not a job but has an entry: answers of another version are not resumed.
ENTRIES = {job: (entry,) for job, entry in JOBS.items() if job != "fetch_source"}
ENTRIES |= {"generation": ("slq.evaluation.generation", "slq.methods.registry")}
USED = {"families": [OWN], "dual_encoders": ["clip"]}
TRAINS = {"cache_features", "train"}
EVALUATES = {
    "evaluate_retrieval",
    "evaluate_retention",
    "check_equivalence",
    "evaluate_blind",
    "evaluate_baseline",
    "measure_pilot",
    "generation",
}
RENDERS = {"render_tables", "draw_figures", "judge_claims", "compare_paper", "write_page", "draw_queries"}


def package(folder, **edits):
    """A copy of the package with edits: for each module path, an old text and a new one."""
    copy = shutil.copytree(PACKAGE, folder / "slq", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in edits.items():
        path = copy / f"{name}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
    return copy


def fingerprints(folder=PACKAGE):
    """Fingerprints by job, for one family and the dual encoder `clip`."""
    return {name: fingerprint(*entries, **USED, package=folder) for name, entries in ENTRIES.items()}


def changed(folder):
    before, after = fingerprints(), fingerprints(folder)
    return {name for name in before if before[name] != after[name]}


def small(folder, text=CODE, name="b"):
    """Fingerprint of a module in a package in which it imports another module."""
    (folder / "slq/a").mkdir(parents=True)
    for place in ("slq/__init__.py", "slq/a/__init__.py"):
        (folder / place).write_text("")
    (folder / "slq/a/entry.py").write_text(f"def work():\n    from slq.a import {name}\n")
    (folder / f"slq/a/{name}.py").write_text(text)
    return fingerprint("slq.a.entry", package=folder / "slq")


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
        | {"evaluate_retrieval", "evaluate_retention", "check_equivalence", "evaluate_blind", "evaluate_baseline"}
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


def test_a_label_of_rows_is_code_of_what_prints_it_alone(tmp_path):
    due = changed(package(tmp_path, **{"methods/full_ft": ('label = "Full FT"', 'label = "Fine-tuned"')}))
    assert due >= RENDERS - {"draw_queries"}  # whose settings include the label
    assert due.isdisjoint(TRAINS | EVALUATES)


@pytest.mark.parametrize(
    "edit",
    [
        ('label = "LoRA"', 'label = "Low rank"'),
        ('"#009e73"', '"#123456"'),
        ('hyperparameters["rank"] * text.layers', "1"),
    ],
    ids=["label", "colour", "cost"],
)
def test_how_a_method_looks_and_what_it_costs_is_code_of_what_reports_it_alone(tmp_path, edit):
    due = changed(package(tmp_path, **{"methods/lora": edit}))
    assert {"count_gpu_hours", "forecast"} & due and due.isdisjoint(TRAINS | EVALUATES)


def test_the_words_of_a_message_are_code_of_what_reports_alone(tmp_path):
    """The words of a message do not change a job's results, but a report may quote them."""
    due = changed(package(tmp_path, **{"training/run": ("weights changed during training", "weights are others")}))
    assert due == set()
    quoted = {"evaluation/metrics_files": ("does not exist, although", "is not there, although")}
    assert changed(package(tmp_path / "quoted", **quoted)) >= {"render_tables"}


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ('raise ValueError("a")', 'raise ValueError("b")', True),
        ('raise ValueError(f"{value} a")', 'raise ValueError(f"{value} b")', True),
        ("raise StopIteration(value)", "raise StopIteration(2 * value)", False),
        ('raise Stopped("a", 1)', 'raise Stopped("b", 1)', True),
        ('raise Stopped("a", 1)', 'raise Stopped("a", 2)', False),
        ('raise Stopped("a", steps=1)', 'raise Stopped("a", steps=2)', False),
        ("raise SystemExit(1)", "raise SystemExit(0)", False),
    ],
)
def test_of_an_error_that_is_raised_its_texts_alone_are_no_code(tmp_path, old, new, same):
    code = CODE.replace("return 2 * value", old)
    before, after = small(tmp_path / "one", code), small(tmp_path / "two", code.replace(old, new))
    assert (before == after) is same


def test_what_draws_figures_is_no_code_of_what_they_show(tmp_path):
    due = changed(package(tmp_path, **{"reporting/plots": ("import math\n", "import math\n\nMORE = 1\n")}))
    assert due >= {"draw_figures", "draw_queries", "render_pilot"}
    assert due.isdisjoint(TRAINS | EVALUATES)


def test_what_a_method_trains_is_code_of_its_own_runs(tmp_path):
    copy = package(tmp_path, **{"methods/lora": ("torch.manual_seed(seed)", "torch.manual_seed(seed + 1)")})
    of = {
        name: fingerprint(JOBS["train"], **USED, methods=[name])
        != fingerprint(JOBS["train"], **USED, methods=[name], package=copy)
        for name in ("full_ft", "lora", "slq")
    }
    assert of == {"full_ft": False, "lora": True, "slq": False}


def test_the_loss_is_code_of_trainings_and_of_no_evaluation(tmp_path):
    due = changed(package(tmp_path, **{"training/loss": ("def info_nce", "MORE = 1\n\n\ndef info_nce")}))
    assert due == {"train", "interpolate", "pretrain_encoder"}


def test_a_scorer_generates_no_answer(tmp_path):
    due = changed(
        package(tmp_path, **{"evaluation/answer_matching": ("def normalise_text", "MORE = 1\n\n\ndef normalise_text")})
    )
    assert {"evaluate_retention", "check_equivalence", "evaluate_blind", "render_tables"} <= due
    assert due.isdisjoint({"generation", "evaluate_retrieval", "evaluate_baseline", "train"})


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
    """Another dual encoder or kind changes no row either, unless a row's encoder class is known only once fetched."""
    config = validate_config(raw_config | {"preset": preset})
    copy = package(tmp_path)
    shutil.copy(ROOT / "tests/third_family/llava.py", copy / "models/families")
    for folder in ("models/dual_encoders", "baselines/kinds"):
        (copy / folder / "more.py").write_text("class More:\n    more = 1\n")
    seen = set()
    for name, (kind, _) in find_baselines(config).items():
        used = baseline_settings.baseline_members(config, name)
        entries = ENTRIES["evaluate_baseline"]
        same = fingerprint(*entries, **used) == fingerprint(*entries, **used, package=copy)
        assert same == (used["dual_encoders"] is not None), name
        assert used["kinds"] == [kind.name]
        seen |= set(used["families"])
    assert seen >= {config["backbones"][name]["family"] for name in config["presets"][preset]["backbones"]}
    nothing = {"families": [], "methods": []}
    assert job_settings.used_members(config, encoders=["mini-clip"]) == {"dual_encoders": ["clip"], **nothing}
    assert job_settings.used_members(config, encoders=["CLIP-ViT-B-32"]) == {"dual_encoders": None, **nothing}


@pytest.mark.parametrize(
    ("module", "edit", "due"),
    [
        ("baselines/rerank", ("ORDERS_SUFFIX = ", "MORE = 1\nORDERS_SUFFIX = "), {"rerank"}),
        ("baselines/injection", ("TOP_TOKENS = 10", "TOP_TOKENS = 11"), {"rerank"}),
        ("baselines/kinds/zero_shot", ("class ", "MORE = 1\n\n\nclass "), {"zero_shot"}),
        ("baselines/kinds/_embedding", ('inputs["model"], data', 'inputs["other"], data'), {"comparator", "zero_shot"}),
        ("baselines/kinds/comparator", ('description": "Name in', 'description": "A name'), set()),
        ("baselines/kinds/rerank", (", re-ranked by ", ", by "), set()),
        ("config/baseline_settings", ("def embedding_settings", "MORE = 1\n\n\ndef embedding_settings"), set()),
        (
            "baselines/encode",
            ("def load_encoders", "MORE = 1\n\n\ndef load_encoders"),
            {"comparator", "zero_shot", "rerank"},
        ),
    ],
)
def test_what_evaluates_a_kind_is_code_of_its_baselines_alone(tmp_path, module, edit, due):
    """The code that makes a kind's settings and labels does not count: they are parameters of the job."""
    copy = package(tmp_path, **{module: edit})
    before, after = (
        {
            kind: fingerprint(*ENTRIES["evaluate_baseline"], **USED, methods=["base"], kinds=[kind], package=folder)
            for kind in list_kinds()
        }
        for folder in (PACKAGE, copy)
    )
    assert {kind for kind in before if before[kind] != after[kind]} == due


def is_exempt(module, entries):
    """Whether an edit of a module is exempt from a job's fingerprint; no module is exempt for a job that reports."""
    reports = all(entry.split(".")[1] in REPORTING_PACKAGES for entry in entries)
    return module in EXEMPT_MODULES and not reports


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_edit_changes_exactly_the_jobs_that_import_its_module(path, monkeypatch):
    name = ".".join(["slq", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    holders = {
        job
        for job, entries in ENTRIES.items()
        if name in import_closure(*entries, **USED) and not is_exempt(name, entries)
    }
    before = fingerprints()

    def edited(file, *arguments, **options):
        module = _parse_module(file, *arguments, **options)
        return replace(module, syntax_sha256="edited") if file == path else module

    monkeypatch.setattr("slq.common.fingerprint._parse_module", edited)
    after = fingerprints()
    # The jobs' own module counts function by function: test_a_function_of_the_jobs_counts_alone.
    assert {job for job in before if before[job] != after[job]} == holders or name == "slq.jobs"


def test_lists_by_hand_missed_modules(capsys):
    """Rules once listed modules by hand; the test prints pairs of a rule and a module whose edit re-ran nothing."""
    listed = json.loads((ROOT / "tests/data/entries_listed_by_hand.json").read_text())
    missed = []
    for rule, entries in listed.items():
        before = {name for name in entries if (PACKAGE / f"{name.removeprefix('slq.').replace('.', '/')}.py").exists()}
        missed += [
            (rule, name)
            for name in import_closure(*ENTRIES[rule], **USED)
            if ":" not in name and name not in import_closure(*before, **USED)
        ]
    with capsys.disabled():
        print(f"\nmissed by lists: {', '.join(f'{rule} {name}' for rule, name in missed)}")
    assert ("train", "slq.evaluation.ranks") in missed


def test_a_function_of_the_jobs_counts_alone(tmp_path):
    due = changed(package(tmp_path, jobs=("validate=validate, ", "validate=validate, **{}, ")))
    assert due == {"train"}


def test_what_a_job_loads_is_in_its_closure(finished):
    """Jobs that ran in the slice leave lists of their loaded modules beside their parameters."""
    seen = set()
    for path in sorted((finished / "scratch/params").glob("*.modules")):
        job = json.loads(path.with_suffix(".json").read_text())["job"]
        loaded = {name for name in path.read_text().split() if name != "slq"}
        if job != "fetch_source":
            closure = set(import_closure(*ENTRIES[job]))
            assert loaded - set(EXEMPT_MODULES) <= closure | {"slq"}, job
            seen.add(job)
    assert {"train", "evaluate_retrieval", "evaluate_retention", "render_tables"} <= seen


def test_modules_are_found_by_name_in_the_registries_alone():
    """A fingerprint sees an import by name only in this form."""
    rooms = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
                (place,) = _parse_module(path, "", (), True).registries
                rooms.add(place)
    models = {"slq.models.families", "slq.models.dual_encoders"}
    assert rooms == {*models, "slq.methods", "slq.baselines.kinds"}


def test_few_modules_are_exempt_each_with_its_reason():
    assert len(EXEMPT_MODULES) <= 8 and all(EXEMPT_MODULES.values())
    for name in EXEMPT_MODULES:
        assert import_closure(name) != []
    assert "slq.common.attempts" in import_closure(
        *ENTRIES["count_gpu_hours"]
    ) and "slq.common.attempts" not in import_closure(*ENTRIES["train"])


def test_all_fingerprints_take_less_than_a_second():
    """Every job on a cluster reads the Snakefile, so fingerprints must be fast."""
    for known in (_parse_module, _module_path, _hash_data_files):
        known.cache_clear()
    before = time.process_time()
    fingerprints()
    assert time.process_time() - before < 2
