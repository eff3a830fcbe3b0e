"""Claims of the paper judged on results that support them, contradict them, or leave them open."""

import shutil
from itertools import product

import pytest
import yaml

from asjob import run_job
from judged import write_world
from slq.claims.claim import read_claims
from slq.claims.claim_judge import decide_above, decide_higher, decide_same
from slq.claims.judge import judge_claims
from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.config.job_settings import claims_settings
from slq.config.loading import validate_config
from slq.evaluation.statistics import Difference
from slq.results.paper import Paper
from stored import MINI, PAPER, REFERENCE, Runs, recalls

SEEDS = [1, 2, 3]
SETTINGS = PAPER | {"synthetic": [], "seeds": SEEDS}
ONE = SETTINGS | {"backbones": PAPER["backbones"][:1]}  # InternVL3-1B only
CLAIMS = yaml.safe_load((REFERENCE / "claims.yaml").read_text())["claims"]
TESTED = [entry["id"] for entry in CLAIMS if entry["test"]["test"] != "none"]
UNTESTED = [entry["id"] for entry in CLAIMS if entry["test"]["test"] == "none"]


def judged(results, settings=SETTINGS, reference=REFERENCE):
    """Every claim of `claims.json` by its id."""
    out = results / settings["preset"] / "claims.json"
    judge_claims(settings, results, reference, out)
    content = read_json(out)
    assert (content["schema"], content["preset"]) == (2, settings["preset"])
    return {claim["id"]: claim for claim in content["claims"]}


@pytest.fixture(scope="session")
def worlds(tmp_path_factory):
    """Verdicts by set of results: `holds`, `fails` and `open`."""
    return {
        name: judged(write_world(tmp_path_factory.mktemp(name), name, SEEDS)) for name in ("holds", "fails", "open")
    }


def of_entry(found, entry):
    """Verdicts of one entry of claims.yaml, on each backbone or on all."""
    return {claim["verdict"] for name, claim in found.items() if name.partition("/")[0] == entry}


@pytest.mark.parametrize("entry", TESTED)
def test_results_decide_every_claim_either_way(worlds, entry):
    assert of_entry(worlds["holds"], entry) == {"supported"}
    assert of_entry(worlds["fails"], entry) == {"contradicted"}


@pytest.mark.parametrize("entry", UNTESTED)
def test_what_nothing_decides_says_what_would(worlds, entry):
    for found in worlds.values():
        assert found[entry]["verdict"] == "not tested"
        assert found[entry]["reason"].startswith("It needs ") and found[entry]["evidence"] == []


def test_methods_that_find_the_same_leave_a_claim_open(worlds):
    paired = [entry["id"] for entry in CLAIMS if entry["test"]["test"] == "higher"]
    assert [of_entry(worlds["open"], entry) for entry in paired] == [{"undecided"}] * len(paired)
    assert of_entry(worlds["open"], "slq-keeps-answers") == {"supported"}


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (-0.9, 0.9, 1.0, "supported"),
        (-6.0, -4.0, 0.001, "contradicted"),  # it loses
        (4.0, 6.0, 0.001, "contradicted"),  # it gains
        (-6.0, 0.9, 0.2, "undecided"),
        (-0.9, 6.0, 0.2, "undecided"),
    ],
)
def test_the_same_is_within_the_margin_on_either_side(low, high, p, verdict):
    assert decide_same(Difference((low + high) / 2, low, high, p), within=1.0, parts=1) == verdict


def test_one_of_many_parts_needs_its_share_of_the_level_to_contradict():
    """The level is divided by the number of parts to contradict, but not to support.

    Of ten parts of a true claim, one has p 0.01 by chance in one of ten cases.
    """
    lower, above = Difference(-1.0, -2.0, -0.2, 0.01), Difference(1.0, 0.2, 2.0, 0.01)
    assert [decide_higher(lower, parts) for parts in (1, 4, 10)] == ["contradicted", "contradicted", "undecided"]
    assert [decide_higher(above, parts) for parts in (1, 10)] == ["supported", "supported"]


def test_an_interval_around_a_published_number_decides_nothing():
    assert [decide_above(low, high, 72.0) for low, high in ((73.0, 75.0), (70.0, 75.0), (70.0, 71.0))] == [
        "supported",
        "undecided",
        "contradicted",
    ]


def test_the_evidence_is_the_number_and_its_files(worlds):
    (number, _) = worlds["holds"]["slq-over-lora-t2i/InternVL3-8B"]["evidence"]
    assert number["what"] == "InternVL3-8B, Flickr30K T2I R@5, SLQ minus LoRA"
    assert (number["value"], number["verdict"]) == ("+100.0 [+100.0, +100.0], p <0.001", "supported")
    runs = [
        f"results/paper/InternVL3-8B/{method}/seed{seed}/retrieval/flickr30k.ranks.parquet"
        for method in ("slq", "lora")
        for seed in SEEDS
    ]
    assert number["file"].split("; ") == runs
    hits = worlds["holds"]["full-ft-loses-answers/Qwen3-VL-2B"]["evidence"][2]
    assert hits["value"].startswith("+60 [+") and "OCRBench, Base minus Full FT" in hits["what"]
    (share,) = worlds["fails"]["slq-hours-of-lora/Qwen3-VL-4B"]["evidence"]
    assert share["value"] == "9.0 / 1.0 = 9, asked at most 0.5"
    beside = worlds["holds"]["slq-8b-over-mllm-i2t"]["evidence"][0]
    assert beside["value"] == "100.0 [100.0, 100.0] against 62.0"
    assert "paper_tables/reference/table1.csv:" in beside["file"]


def test_a_proof_decides_what_is_kept(tmp_path):
    """The run has no answers of its own: it inherits base's, and the equivalence check decides the claim."""
    results = write_world(tmp_path, "fails", SEEDS)
    for entry in PAPER["retention_datasets"]:
        folder = results / "paper/InternVL3-1B/slq/seed1/retention"
        (folder / f"{entry['name']}.answers.jsonl").unlink()
        Runs(results, "paper").inherited("InternVL3-1B", "slq", entry["name"])
    found = judged(results, ONE | {"seeds": [1]})
    assert found["slq-keeps-answers/InternVL3-1B"]["verdict"] == "supported"
    assert "base/seed0/retention/mmmu.answers.jsonl" in found["slq-keeps-answers/InternVL3-1B"]["evidence"][0]["file"]


def test_fewer_than_three_seeds_decide_nothing_and_say_what_they_alone_would(tmp_path, capsys):
    """Ratios of costs and numbers that a check proves equal are decided as with three seeds."""
    results = write_world(tmp_path, "holds", SEEDS)
    for entry in PAPER["retention_datasets"]:
        for seed in SEEDS:
            answers = results / f"paper/InternVL3-1B/slq/seed{seed}/retention/{entry['name']}.answers.jsonl"
            answers.unlink()
            Runs(results, "paper", seed).inherited("InternVL3-1B", "slq", entry["name"])
    three = judged(results, ONE)
    for seeds in ([1], [1, 2]):
        few = judged(results, ONE | {"seeds": seeds})
        for name, claim in few.items():
            needs_seeds = claim["test"]["test"] in ("higher", "above") and claim["verdict"] != "not tested"
            assert claim["verdict"] == ("undecided" if needs_seeds else three[name]["verdict"]), name
            assert claim["this_run"] == (three[name]["verdict"] if needs_seeds else None)
            for line in claim["evidence"]:
                says = f"; this run only: {line['this_run']}"
                assert line["value"].endswith(says) if line["this_run"] else "this run only" not in line["value"]
        alone = [claim["this_run"] for claim in few.values()]
        said = capsys.readouterr().out.splitlines()[-1]
        assert said.endswith(f" (this run only: {alone.count('supported')} would be supported, 0 contradicted)")
    assert {three[f"slq-{one}/InternVL3-1B"]["verdict"] for one in ("keeps-answers", "hours-of-lora")} == {"supported"}


def test_seeds_that_disagree_leave_a_claim_open_that_the_first_would_support(tmp_path):
    """Of three seeds, two find nothing more than LoRA: the mean is far above 0 but its interval over seeds is not."""
    results = write_world(tmp_path, "holds", SEEDS)
    for seed, dataset in product(SEEDS[1:], ("flickr30k", "coco")):
        for kind in ("json", "ranks.parquet"):
            source, target = (
                results / f"paper/InternVL3-1B/{method}/seed{seed}/retrieval/{dataset}.{kind}"
                for method in ("lora", "slq")
            )
            shutil.copyfile(source, target)
    name = "slq-over-lora-t2i/InternVL3-1B"
    claim = judged(results, ONE)[name]
    assert claim["verdict"] == "undecided" and claim["this_run"] is None
    assert claim["evidence"][0]["value"].startswith("+33.3 [\u2212")
    assert judged(results, ONE | {"seeds": [1]})[name]["this_run"] == "supported"


def test_a_part_that_is_not_there_leaves_a_claim_open_and_is_named(tmp_path):
    results = write_world(tmp_path, "holds", SEEDS)
    for seed in SEEDS:
        (results / f"paper/InternVL3-1B/lora/seed{seed}/retrieval/coco.ranks.parquet").unlink()
    claim = judged(results, ONE)["slq-over-lora-t2i/InternVL3-1B"]
    assert [part["verdict"] for part in claim["evidence"]] == ["supported", "not tested"]
    assert claim["verdict"] == "undecided" and claim["reason"].startswith("Numbers: 1 supported, 1 not tested.")
    assert "InternVL3-1B/lora/seed3/retrieval/coco.ranks.parquet does not exist" in claim["evidence"][1]["value"]
    shutil.rmtree(results / "paper/InternVL3-1B")
    found = judged(results, ONE)
    gone = [claim for name, claim in found.items() if name.endswith("/InternVL3-1B")]
    assert {claim["verdict"] for claim in gone} == {"not tested"}
    assert all(claim["reason"].startswith("Not run: ") for claim in gone)


def test_a_stale_number_decides_no_claim_and_is_named(tmp_path, capsys):
    results = write_world(tmp_path, "holds")
    path = results / "paper/InternVL3-1B/lora/seed1/retrieval/coco.json"
    content = read_json(path)
    content["metrics"]["t2i"]["R@1"] += 0.3
    write_json(path, content)
    claim = judged(results, ONE | {"seeds": [1]})["slq-over-lora-t2i/InternVL3-1B"]
    assert [part["verdict"] for part in claim["evidence"]] == ["undecided", "not tested"]
    why = "InternVL3-1B/lora/seed1/retrieval/coco.json is not what its ranks or answers give: metrics.t2i.R@1 is 0.3"
    assert why in claim["evidence"][1]["value"] and f"slq: warning: results/paper/{why}" in capsys.readouterr().err


def test_hours_of_different_devices_are_not_divided(tmp_path):
    results = write_world(tmp_path, "holds", SEEDS)
    Runs(results, "paper").run("InternVL3-1B", "lora", 10**7, {"kind": "cuda", "name": "another", "count": 8})
    claim = judged(results, ONE)["slq-hours-of-lora/InternVL3-1B"]
    assert (claim["verdict"], claim["reason"]) == ("not tested", "Not run: not hours of one device.")


def test_on_drawn_data_the_file_says_so_and_quotes_are_no_comparison(tmp_path, raw_config):
    settings = claims_settings(validate_config(raw_config))
    assert settings["synthetic"] == ["mini-Flickr30K", "mini-COCO", "mini-MMMU", "mini-RealWorldQA", "mini-OCRBench"]
    runs = Runs(tmp_path / "results", "mini")
    runs.retrieval("mini-a", "slq", "mini-f", recalls(99.0))
    runs.run("mini-a", "slq", 10, {"kind": "cpu", "name": "x", "count": 1}, spans={"train": 1.0})
    runs.run("mini-a", "lora", 10, {"kind": "cpu", "name": "x", "count": 1}, spans={"train": 4.0})
    found = judged(tmp_path / "results", MINI | {"synthetic": ["mini-F", "mini-C"], "methods": ["base", "lora", "slq"]})
    assert "say nothing" in read_json(tmp_path / "results/mini/claims.json")["about"]
    assert found["slq-over-clip-b/InternVL3-1B"]["verdict"] == "not tested"
    assert "mini-F is another dataset than the paper's" in found["slq-over-clip-b/InternVL3-1B"]["reason"]
    assert found["slq-hours-of-lora/InternVL3-1B"]["reason"].startswith("On synthetic data. ")
    assert found["slq-hours-of-lora/InternVL3-1B"]["verdict"] == "supported"


# ---- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentences": "x"}, "claims[0].sentences is not a key here; did you mean 'sentence'?"),
        ({"where": None}, "claims[0].where is missing"),
        ({"test": {"test": "higer"}}, "claims[0].test.test is 'higer'; did you mean 'higher'?"),
        ({"test": {"than": "lore"}}, "claims[0].test.than is 'lore', which is not under methods; did you mean 'lora'?"),
        ({"test": {"dataset": ["coco"]}}, "claims[0].test.dataset is not a key here; did you mean 'datasets'?"),
        ({"test": {"backbones": ["BLIP"]}}, "backbones[0] is 'BLIP', which is not under rows; expected one of: "),
        ({"test": {"backbones": "every"}}, "claims[0].test.backbones is 'every'; expected: each, all"),
        (
            {"test": {"datasets": ["coko"]}},
            "test.datasets[0] is 'coko', which is not under datasets; did you mean 'coco'?",
        ),
        (
            {"test": {"datasets": ["mmmu"]}},
            "test.datasets[0] is 'mmmu', a retention dataset, and test.metrics are recalls",
        ),
        (
            {"test": {"metrics": None}},
            "claims[0].test.metrics is missing; a dataset of the test is a retrieval dataset",
        ),
        ({"test": {"test": "above", "models": ["TIGER"], "than": None}}, "models[0] is 'TIGER', which is not under"),
        ({"id": "slq-over-lora-i2t"}, "id is used twice"),
        ({"test": {"test": "above", "models": ["TiGeR"], "than": None, "metrics": ["i2t R@1"]}}, "no number for TiGeR"),
    ],
)  # fmt: skip
def test_a_fault_in_the_file_is_named(tmp_path, change, message):
    content = yaml.safe_load((REFERENCE / "claims.yaml").read_text())
    entry = content["claims"][0]
    for key, value in change.items():
        entry[key] = entry[key] | value if isinstance(value, dict) else value
    entry["test"] = {key: value for key, value in entry["test"].items() if value is not None}
    path = tmp_path / "claims.yaml"
    path.write_text(
        yaml.safe_dump(content | {"claims": [{k: v for k, v in entry.items() if v is not None}, *CLAIMS[1:]]})
    )
    with pytest.raises(SlqError) as error:
        read_claims(path, Paper(REFERENCE, tmp_path / "results"))
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_an_entry_more_is_a_claim_more(tmp_path):
    """A file with its first entry and another one gives one more claim."""
    reference = shutil.copytree(REFERENCE, tmp_path / "reference")
    test = {
        "test": "higher",
        "of": "lora",
        "than": "base",
        "datasets": ["coco"],
        "metrics": ["t2i R@1"],
        "backbones": "all",
    }
    more = {"id": "base-is-worst", "sentence": "LoRA finds more than base on COCO.", "where": "nowhere", "test": test}
    (reference / "claims.yaml").write_text(yaml.safe_dump({"claims": [CLAIMS[0], more]}))
    found = judged(write_world(tmp_path, "holds", SEEDS), reference=reference)
    assert len(found) == len(PAPER["backbones"]) + 1
    assert found["base-is-worst"]["verdict"] == "undecided" and len(found["base-is-worst"]["evidence"]) == 4


def test_the_command_prints_a_line_a_claim(tmp_path, capsys):
    results = write_world(tmp_path, "holds", SEEDS)
    paths = {"results": results, "reference": REFERENCE, "out": tmp_path / "claims.json"}
    assert run_job("judge_claims", settings=ONE, **paths) == 0
    claims = read_json(tmp_path / "claims.json")["claims"]
    _, _, *lines, _, counts = capsys.readouterr().out.rstrip().splitlines()
    assert [line.split("  ")[0] for line in lines] == [claim["verdict"] for claim in claims]
    assert all(claim["id"] in line and claim["reason"] in line for line, claim in zip(lines, claims, strict=True))
    supported = sum(claim["verdict"] == "supported" for claim in claims)
    assert supported > 10 and counts.startswith(f"{len(claims)} claims: {supported} supported, 0 ")
