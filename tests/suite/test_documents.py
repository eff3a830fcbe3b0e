"""Tests of README, CONTRIBUTING and docs/: their form, their links, and the script that runs their commands."""

import re
from pathlib import Path

import pytest
import yaml

from doc_commands import PAGES, Block, inline_commands, masked, plan_of, read_blocks, same_output

ROOT = Path(__file__).parents[2]
TEMPLATES = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/*.yml"))
COMMANDS = re.compile(r"^\s*(\$ )?(make|snakemake|slq|python|pip|git|sbatch|pytest) ", re.MULTILINE)


def anchors(text):
    """Compute the anchors of a page's headings as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / name if name else ROOT / page
        assert linked.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(linked.read_text()), f"{page}: {target}"


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/log.md"])
def test_commands_stand_in_blocks_that_are_run(page):
    for block in read_blocks(page, (ROOT / page).read_text()):
        if block.language in ("", "text", "bash", "shell"):
            assert not COMMANDS.search("\n".join(block.lines)), f"{block.name}: expected ```console or ```sh"
        if block.language == "console":
            assert block.steps() and (block.planned or all(shown for _, shown in block.steps())), block.name


def test_readme_is_read_in_one_go():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_places_that_state_the_version_agree():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\S+) \(\d{4}-\d\d-\d\d\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


def test_the_public_ci_runs_the_two_commands_and_every_target_exists():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    runs = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"make reproduce", "make test"} <= set(runs)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {run.split()[1] for run in runs if run.startswith("make ")} <= set(targets)


@pytest.mark.parametrize("path", [path for path in TEMPLATES if path.name != "config.yml"], ids=lambda path: path.stem)
def test_issue_templates_require_the_output_of_doctor(path):
    form = yaml.safe_load(path.read_text())
    required = [field for field in form["body"] if field.get("validations", {}).get("required")]
    assert any("slq doctor" in field["attributes"]["label"] for field in required)


def test_the_questions_for_readers_have_a_key_whose_files_exist():
    questions, key = ((ROOT / "tests/readers" / name).read_text() for name in ("questions.md", "key.md"))
    numbers = [re.findall(r"^(\d+)\. ", text, re.MULTILINE) for text in (questions, key)]
    assert numbers[0] == numbers[1] == [str(number) for number in range(1, 21)]
    for name in re.findall(r"\b(?:workflow|docs|paper_tables/reference|tests|slurm)/[\w/.-]+\.\w+", key):
        assert (ROOT / name).exists(), name


PAGE = """# A page

<!-- before: touch mine -->
<!-- exits: 3 -->
```console
$ ls \\
    mine
mine
$ echo 1.5 s; exit 3
9 s
```

`slq compare results/mini a.tar.gz`, `make test ARGS="--shuffle 7"`, `slq export RUN DIR`, `slq compare <a> <b>`
"""


def test_blocks_are_read_with_their_directives(tmp_path):
    (block,) = read_blocks("page.md", PAGE)
    assert (block.before, block.exits, block.first_line) == (["touch mine"], 3, 6)
    assert block.steps() == [("ls \\\n    mine", ["mine"]), ("echo 1.5 s; exit 3", ["9 s"])]
    assert inline_commands(PAGE) == ["slq compare results/mini a.tar.gz", 'make test ARGS="--shuffle 7"']
    with pytest.raises(ValueError, match="output before"):
        Block("page.md", "console", 1, ["text"]).steps()
    with pytest.raises(ValueError, match=r"page.md:2: expected a block"):
        read_blocks("page.md", "<!-- exits: 1 -->\ntext\n")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["12 s"], ["0.3 s"], True),
        (["trained, 12 s"], ["trained, 3 h 20 min"], True),
        (["trained, 12 s"], ["trained, 2 min 5 s"], True),
        (["at 0123abc"], ["at fedcba987"], True),
        (["R@5 100.0"], ["R@5 99.0"], False),
        (["a", "...", "z"], ["a", "b", "c", "z"], True),
        (["a", "..."], ["a"], True),
        (["a"], ["a", "b"], False),
    ],
)
def test_outputs_are_compared_but_for_times_and_hashes(shown, printed, same, tmp_path):
    assert same_output(*(masked(lines, tmp_path) for lines in (shown, printed))) is same


def test_of_numbers_that_vary_only_the_words_are_compared(tmp_path):
    shown, printed, other = ["R@1 98.1 (96.5, 99.3)"], ["R@1  7.25 (1, 12.0)"], ["R@1 98.1"]
    assert same_output(*(masked(lines, tmp_path, True) for lines in (shown, printed)))
    assert not same_output(*(masked(lines, tmp_path, True) for lines in (shown, other)))


def test_what_cannot_run_here_is_planned_or_read(tmp_path):
    assert plan_of("snakemake --cores all fetch  # on a host with internet").startswith("snakemake -n ")
    assert plan_of("make reproduce") == "make -n reproduce"
    assert "parse_args" in plan_of("slq doctor --preset paper")
    assert plan_of("rsync -a a b") == "bash -n -c 'rsync -a a b'"
