"""Results, bundles and another paper's tables with random faults (tests/odd.py): a correct result, or one message."""

import csv
import io
import shutil
import tarfile
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from checkout import ROOT
from comparing import draw_run, settings
from odd import FEW_AND_MANY, TEXTS, VALUES, as_json, as_lines, damaged, odd_json, outcome, run
from slq.claims.claim import read_claims
from slq.common.errors import SlqError
from slq.common.files import hash_file, read_json, read_jsonl, write_json
from slq.evaluation.rescoring import recheck_ranks, recheck_scores, rescore_folder
from slq.evaluation.retention_metrics import questions_hash, score_answers
from slq.evaluation.retrieval_metrics import gallery_hash
from slq.evaluation.scorers import SCORERS
from slq.reporting.comparison.bundles import MANIFEST, open_source, write_bundle
from slq.reporting.comparison.output import write_comparison
from slq.results.curves import training_curves
from slq.results.layout import parse_layout
from slq.results.load import Results
from slq.results.paper import COLUMNS_BY_TABLE, Paper
from stored import CPU, MINI, REFERENCE, Runs, write_answers, write_ranks

ANSWERED = [
    {"id": f"q{n}", "question": "?", "options": options, "answers": ["A"], "type": "x", "prompt": "?"}
    | {"answer": "A", "tokens": 2, "ended": True}
    for n, options in enumerate([["yes", "no"], []])
]

TYPES = ["x", "Handwritten Mathematical Expression Recognition"]  # the second has its own rule


@FEW_AND_MANY
@pytest.mark.parametrize("benchmark", ["mmmu", "realworldqa", "ocrbench"])
def test_replies(benchmark, times):
    """Every scorer judges any reply of a model and any accepted answer of a dataset."""
    printed = next(name for name, scorer in SCORERS.items() if benchmark in scorer.benchmarks)
    replies = st.one_of(st.text(max_size=40), st.text("ABab .:()1290,e+-=/$%\n<think>", max_size=30), TEXTS)
    texts = st.text(max_size=10).filter(str.strip)

    @given(replies, st.lists(texts, min_size=1, max_size=3), st.lists(texts, max_size=26), st.sampled_from(TYPES))
    def check(reply, answers, options, kind):
        item = ANSWERED[0] | {"answer": reply, "answers": answers, "options": options, "type": kind}
        content, _ = score_answers(benchmark, printed, [item])
        assert content["n"] == {"items": 1} and 0 <= content["metrics"]["accuracy"] <= 100

    run(check, times)


@FEW_AND_MANY
def test_answers(tmp_path_factory, times):
    """Some answers match their metrics file, because a user who edits answers may write their hashes as well."""
    path = tmp_path_factory.mktemp("answers") / "mini/a/slq/seed1/retention/set.json"
    write_answers(path, "mmmu", "vlmevalkit-exact-2", ANSWERED)
    answers, metrics = path.with_name("set.answers.jsonl"), read_json(path)

    @given(odd_json(ANSWERED, as_lines), st.booleans())
    @example(b"", True)
    @example(as_lines([ANSWERED[0] | {"options": list("abcdefghijklmnopqrstuvwxyzå")}]), True)
    @example(as_lines([ANSWERED[0] | {"answers": [None]}]), True)
    def check(data, is_true_to_them):
        answers.write_bytes(data)
        changes = {}
        with suppress(SlqError, KeyError, TypeError):  # lines without hashes
            lines = read_jsonl(answers)
            hashes = {"answers": hash_file(answers), "questions": questions_hash(lines)}
            changes = {"inputs": metrics["inputs"] | hashes, "n": {"items": len(lines)}}
        write_json(path, metrics | (changes if is_true_to_them else {}))
        outcome(recheck_scores, path)

    run(check, times)


@FEW_AND_MANY
@pytest.mark.parametrize("kind", ["ranks", "answers"])
def test_metrics_files(tmp_path_factory, kind, times):
    folder = tmp_path_factory.mktemp("metrics") / "mini/a/slq/seed1" / ("retrieval" if kind == "ranks" else "retention")
    path = folder / "set.json"
    if kind == "ranks":
        write_ranks(path, [1, 2, 1, 1], [1, 2], captions=2)
    else:
        write_answers(path, "mmmu", "vlmevalkit-exact-2", ANSWERED)
    valid = read_json(path)
    inheriting = {"inherits_from": "b/base/seed0/retention/set.json", "inputs": {"answers": "x"}}
    inheriting |= {"schema": valid["schema"]}

    @given(st.one_of(odd_json(valid), odd_json(inheriting)))
    def check(data):
        path.write_bytes(data)
        outcome(recheck_ranks if kind == "ranks" else recheck_scores, path)
        outcome(rescore_folder, folder, False)
        outcome(rescore_folder, folder, True)

    run(check, times)


@FEW_AND_MANY
def test_rank_tables(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("ranks") / "mini/a/slq/seed1/retrieval/set.json"
    write_ranks(path, [1, 2, 1, 1], [1, 2], captions=2)
    ranks, metrics = path.with_name("set.ranks.parquet"), read_json(path)
    table, whole = pd.read_parquet(ranks), ranks.read_bytes()
    rows, values = st.integers(-1, len(table) - 1), st.one_of(VALUES, st.binary(max_size=3))

    def write(column, row, value):
        """Write the table with another value in one row, or in all."""
        other = [value if row in (-1, number) else one for number, one in enumerate(table[column])]
        table.assign(**{column: pd.Series(other, dtype=object)}).to_parquet(ranks, index=False)

    @given(st.one_of(damaged(whole), st.tuples(st.sampled_from([*table.columns]), rows, values)), st.booleans())
    @example(("query", 0, b""), True)
    @example(("image", 0, None), True)
    @example(("rank", 0, None), True)
    def check(change, is_true_to_them):
        if isinstance(change, bytes):
            ranks.write_bytes(change)
        else:
            try:
                write(*change)
            except (pa.ArrowException, OverflowError, UnicodeEncodeError):  # values that parquet cannot store
                return
        changes = {}
        with suppress(Exception):  # a table without a hash
            changes = {"gallery": gallery_hash(pd.read_parquet(ranks)), "ranks": hash_file(ranks)}
        write_json(path, metrics | {"inputs": metrics["inputs"] | (changes if is_true_to_them else {})})
        outcome(recheck_ranks, path)

    run(check, times)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Results of a preset: SLQ with ranks, answers and events, base with answers, and an audit."""
    root = tmp_path_factory.mktemp("drawn")
    folder, runs = draw_run(root, np.random.default_rng(1)), Runs(root / "results", "mini")
    runs.run("mini-a", "slq", device=CPU)
    runs.run("mini-a", "base", trained=0)
    shutil.copytree(folder / "mini-a/slq/seed1/retention", folder / "mini-a/base/seed0/retention")
    runs.inherited("mini-a", "slq", "mini-r")
    for name in ("mini-r.answers.jsonl", "mini-r.disagreements.jsonl"):
        (folder / f"mini-a/slq/seed1/retention/{name}").unlink()
    runs.events("mini-a", "slq", [2.0, 1.0], [30.0, 40.0])
    test = {"items": 100, "sha256": "x", "repeated": {}, "in_train": {}, "leaked": []}
    write_json(folder / "audit.json", {"schema": 4, "allow_leak": False, "splits": {"mini-f/test": test}})
    return folder


RESULTS = [
    "mini-a/slq/seed1/run.json",
    "mini-a/slq/seed1/retrieval/mini-f.json",
    "mini-a/slq/seed1/retention/mini-r.json",
    "mini-a/base/seed0/retention/mini-r.json",
    "mini-a/base/seed0/run.json",
    "audit.json",
]


@FEW_AND_MANY
@pytest.mark.parametrize("name", RESULTS)
def test_results_of_a_preset(drawn, tmp_path_factory, name, times):
    """Tables, figures, page, claims and card read them, and so does a comparison."""
    folder = shutil.copytree(drawn.parents[1], tmp_path_factory.mktemp("results") / "lab") / "results/mini"
    path, valid = folder / name, read_json(folder / name)

    @given(odd_json(valid))
    @example(as_json(valid | {"inherits_from": None}))
    @example(as_json({key: value for key, value in valid.items() if key != "inputs"}))
    @example(as_json(valid | {"inputs": None, "splits": None}))
    @example(as_json(valid | {"types": 5, "variants": [[]]}))
    @example(as_json(valid | {"hidden_size": 10**400}))
    def check(data):
        path.write_bytes(data)
        outcome(Results, folder.parent, parse_layout(MINI))
        outcome(write_comparison, str(folder), str(drawn), settings(), REFERENCE)

    run(check, times)


@FEW_AND_MANY
def test_events_of_a_training(drawn, tmp_path_factory, times):
    folder = shutil.copytree(drawn, tmp_path_factory.mktemp("events") / "mini")
    path = folder / "mini-a/slq/seed1/events/train.jsonl"

    @given(odd_json(read_jsonl(path), as_lines))
    def check(data):
        path.write_bytes(data)
        outcome(training_curves, folder, "mini-a", "slq", 1)

    run(check, times)


@FEW_AND_MANY
def test_bundles(drawn, tmp_path_factory, times):
    path = tmp_path_factory.mktemp("bundles") / "mini.tar.gz"
    write_bundle(drawn, path, [ROOT / "config.yaml"])
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        members = {one.name: archive.extractfile(one).read() for one in archive}

    def read():
        with open_source(str(path)) as (_, folder, _):
            return folder.name

    def pack(manifest, others):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT, errors="surrogatepass") as archive:
            for name, content in [*(members | {MANIFEST: manifest}).items(), *others]:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return buffer.getvalue()

    names = st.one_of(TEXTS, st.sampled_from(["../x", "/x", "a/../../x", ".", MANIFEST]))
    others = st.lists(st.tuples(names, st.binary(max_size=3)), max_size=2)
    packed = st.builds(pack, damaged(members[MANIFEST]), others)

    @given(st.one_of(damaged(whole), packed))
    def check(data):
        path.write_bytes(data)
        assert outcome(read) in (None, "mini")

    run(check, times)


def as_csv(rows):
    """CSV bytes, also of a value that is not a list of rows."""
    text = io.StringIO()
    for row in rows if isinstance(rows, list) else [rows]:
        csv.writer(text).writerow(row if isinstance(row, list) else [row])
    return text.getvalue().encode("utf-8", "surrogatepass")


@FEW_AND_MANY
@pytest.mark.parametrize("name", ["benchmarks", *COLUMNS_BY_TABLE])
def test_tables_of_another_paper(tmp_path_factory, name, times):
    folder = shutil.copytree(REFERENCE, tmp_path_factory.mktemp("paper") / "reference")
    path = folder / f"{name}.csv"
    for table in folder.glob("*.csv"):
        table.write_text("".join(table.read_text().splitlines(keepends=True)[:5]))
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))

    @given(odd_json(rows, as_csv))
    @example(as_csv([rows[0], ["x"] * len(rows[0])]))
    @example(as_csv([rows[0], [""] * len(rows[0])]))
    @example("\n".join(map(",".join, [rows[0], ["é"] * len(rows[0])])).encode("latin-1"))
    def check(data):
        path.write_bytes(data)
        outcome(Paper, folder, folder.parent, None, tuple(COLUMNS_BY_TABLE))

    run(check, times)


@FEW_AND_MANY
def test_claims_of_another_paper(tmp_path_factory, times):
    path = tmp_path_factory.mktemp("claims") / "claims.yaml"
    valid = yaml.safe_load((REFERENCE / "claims.yaml").read_text())
    valid["claims"] = valid["claims"][:3]
    paper = Paper(REFERENCE, path.parent)

    @given(odd_json(valid))
    def check(data):
        path.write_bytes(data)
        outcome(read_claims, path, paper)

    run(check, times)
