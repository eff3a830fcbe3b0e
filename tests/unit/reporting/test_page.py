"""The page: its content is in its files, its links exist, and a browser contacts no server."""

import csv
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from urllib.parse import unquote

import pytest
import yaml

from checkout import listed_jobs, place, planned
from judged import PROVENANCE, write_world
from slq.claims.base_check import check_base_scores
from slq.claims.judge import judge_claims
from slq.claims.paper_audit import audit_paper
from slq.common.errors import SlqError
from slq.common.files import read_json, write_json
from slq.config import job_settings
from slq.config.cost_settings import paper_audit_settings
from slq.config.loading import validate_config
from slq.reporting.comparison.output import write_comparison
from slq.reporting.figures import draw_figures
from slq.reporting.page.page import FIGURE_TITLES, write_page
from slq.reporting.page.summary import answer
from slq.reporting.tables import render
from slq.results.checks import VERDICTS
from slq.results.ledger import COLUMNS
from stored import H200, PAPER, REFERENCE, ROOT, TEMPLATES, Runs

PLAN = "0123456789abcdef" * 4
FIGURES = ("margins", "recall", "retention", "training")
LINE = {"backbone": "InternVL3-1B", "method": "slq", "seed": 1, "stage": "train", "device": "NVIDIA H200", "devices": 8}
SEEDS = [1, 2, 3]
LAYOUT = PAPER | {"seeds": SEEDS}


def compared():
    """A comparison as `slq compare` writes it, with one cell of each verdict, on two backbones."""
    place = {"backbone": "InternVL3-1B", "method": "slq", "benchmark": "coco", "metric": "t2i R@5"}
    files = ["results/paper/InternVL3-1B/slq/seed1/retrieval/coco.json", "paper_tables/reference/table3.csv:3"]
    rest = {"tolerance": 1.0, "interval": None, "reason": "because", "files": files}
    cells = [
        place | rest | {"a": 75.04, "b": 74.3, "delta": 0.74, "verdict": "agrees", "interval": [0.1, 1.4]},
        place | rest | {"a": 60.0, "b": 74.3, "delta": -14.3, "verdict": "differs", "metric": "i2t R@5"},
        place | rest | {"a": 789.0, "b": 790.0, "delta": -1.0, "verdict": "inside noise", "metric": "score"},
        place | rest | {"a": None, "b": 4.4e6, "delta": None, "verdict": "missing", "metric": "parameters"},
        place
        | rest
        | {"a": 0.0, "b": None, "delta": None, "verdict": "extra", "backbone": "InternVL3-8B", "files": []},
    ]
    counts = {"not comparable": 0} | Counter(cell["verdict"] for cell in cells)
    names = ("results/paper", "preset paper, 16 runs"), ("paper", "the paper's Tables 1 and 3")
    a, b = ({"name": name, "kind": "folder", "what": what} for name, what in names)
    differences = [{"what": "config", "key": "training.batch_size", "a": "512", "b": "1024"}]
    content = {"schema": 2, "preset": "paper", "a": a, "b": b, "cells": cells, "counts": counts}
    return content | {"differences": differences}


def prepare(root):
    """Folder of a page and of everything that it is made of, in the layout of a project."""
    reference = shutil.copytree(REFERENCE, root / "paper_tables" / "reference")
    results, out = write_world(root, "holds", SEEDS), root / "paper_tables" / "paper"
    write_json(results / "paper" / "compare" / "paper.json", compared())
    with open(results / "paper" / "gpu_hours.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerow(LINE | {"train_hours": 3.25, "repeated_hours": 0.5, "total_hours": 4, "pflop": 2900})
        writer.writerow(LINE | {"stage": "retrieval", "train_hours": 0, "repeated_hours": 0, "total_hours": 0.25})
    audit_paper(
        paper_audit_settings(validate_config(yaml.safe_load((ROOT / "config.yaml").read_text()))),
        reference,
        root / "paper_tables/audit.json",
    )
    finish(root, LAYOUT)
    return out


def finish(root, layout):
    """Judge, render and draw the current results, and write the page."""
    reference, results, out = root / "paper_tables/reference", root / "results", root / "paper_tables/paper"
    judge_claims(layout | {"synthetic": []}, results, reference, results / "paper" / "claims.json")
    check_base_scores(layout, results, reference, results / "paper" / "base_check.json")
    render(layout, results, reference, TEMPLATES, out)
    draw_figures(layout, results, reference, out / "figures")
    write(root, layout)


def write(root, layout=LAYOUT, **changes):
    out = root / "paper_tables/paper"
    figures = [out / "figures" / f"{name}.svg" for name in FIGURES]
    paths = {
        "plan": PLAN,
        "results": root / "results",
        "audit": root / "paper_tables/audit.json",
        "templates": TEMPLATES,
    }
    write_page(layout, **(paths | changes), figures=figures, out=out)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folder of a finished page; tests that change it copy the root above."""
    return prepare(tmp_path_factory.mktemp("page"))


@pytest.fixture
def root(folder, tmp_path):
    return shutil.copytree(folder.parents[1], tmp_path / "copy")


class Page(HTMLParser):
    """A parsed page: tags with their attributes, and the text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **having):
        return [own for name, own in self.tags if name == tag and all(own.get(k) == v for k, v in having.items())]


@pytest.fixture(scope="session")
def page(folder):
    return Page(folder / "report.html")


def test_every_link_leads_to_a_file_or_a_place_on_the_page(folder, page):
    ids = [own["id"] for _, own in page.tags if "id" in own]
    assert len(ids) == len(set(ids))
    links = [own["href"] for own in page.all("a")]
    assert len(links) > 300
    for link in links:
        if link.startswith("#"):
            assert unquote(link[1:]) in ids, link
        else:
            assert (folder / unquote(link)).is_file(), link


def test_nothing_comes_from_elsewhere(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "http:" not in text and "https:" not in text and "@import" not in text
    assert "url(" not in text and not re.search(r'\bon\w+="', text)
    assert all(picture.startswith("data:image/svg+xml;base64,") for picture in re.findall(r'src="([^"]*)', text))


def test_the_margins_are_the_first_figure_and_stand_before_the_claims(page):
    shown = [own.get("alt") or own.get("id") for name, own in page.tags if name in ("img", "h2")]
    assert shown[:2] == [FIGURE_TITLES["margins"], "claims"]
    figures = shown[shown.index("figures") + 1 :][: len(FIGURES) - 1]
    assert figures == [FIGURE_TITLES[name] for name in FIGURES[1:]]


def test_the_answer_stands_on_top(folder, page):
    """Below one title line come a sentence, the counts in words, and the tables of verdicts."""
    claims = read_json(folder.parents[1] / "results/paper/claims.json")["claims"]
    found = Counter(claim["verdict"] for claim in claims)
    said = [
        "Does it reproduce?",
        "In part, as far as it is tested.",
        f"Of the paper's {found.total()} claims: {found['supported']} supported, {found['not tested']} not tested.",
        "Of the 4 cells of its tables: 3 measured, 1 of these agree.",
        f"Claims of the paper {found['supported']}",
    ]
    shown = page.text[page.text.rindex("Does it reproduce?") :]
    assert " ".join(shown.split()).startswith(" ".join(said))
    header = (folder / "report.html").read_text().partition("<nav")[0]
    counts = re.findall(r'<td class="count">(\d+)</td><th scope="row">([^<]*)</th>', header)
    assert counts[:4] == [(str(found[verdict]), verdict) for verdict in VERDICTS]
    expected = [("1", "agrees"), ("1", "differs"), ("1", "inside noise"), ("1", "extra"), ("1", "missing")]
    assert sorted(counts[4:]) == sorted([*expected, ("0", "not comparable")])
    for claim in claims:
        assert claim["sentence"] in page.text
        if claim["test"]["test"] != "none":
            assert page.all("a", href=f"#{claim['id']}")[0]["title"] == claim["reason"]


@pytest.mark.parametrize(
    ("verdicts", "cells", "lead"),
    [
        (["supported", "not tested"], ["agrees", "missing"], "Yes, as far as it is tested."),
        (["supported", "supported"], ["agrees", "differs"], "In part, as far as it is tested."),
        (["supported", "contradicted"], ["agrees"], "In part, as far as it is tested."),
        (["contradicted", "undecided"], ["agrees"], "No, as far as it is tested."),
        (["undecided", "not tested"], ["agrees"], "Undecided so far."),
        (["not tested", "not tested"], ["missing"], "Not run yet."),
    ],
)
def test_the_answer_follows_from_claims_and_cells(verdicts, cells, lead):
    claims = {"preset": "paper", "synthetic": [], "claims": [{"verdict": verdict} for verdict in verdicts]}
    own = [{"verdict": verdict, "a": None if verdict == "missing" else 1.0, "b": 1.0} for verdict in cells]
    assert answer(claims, {"cells": own, "counts": Counter(cells)})[0] == lead


def test_of_synthetic_data_the_answer_is_about_the_machinery():
    claims = {"preset": "mini", "synthetic": ["mini-COCO"], "claims": [{"verdict": "supported"}]}
    cells = [{"verdict": "not comparable", "a": 1.0, "b": 1.0}, {"verdict": "missing", "a": None, "b": 1.0}]
    said = " ".join(answer(claims, {"cells": cells, "counts": {}}))
    assert said.startswith(
        "Preset mini cannot answer this: on synthetic data, its numbers show that the machinery works,"
    )
    assert "nothing about the paper" in said and "1 supported" in said
    assert "0 measured on the paper's own data, 1 with a counterpart" in said


def test_compared_cells_are_printed_as_their_metric_is(page):
    text = re.sub(r"\s+", " ", page.text)
    for words in ("75.0 74.3 +0.7 [+0.1, +1.4]", "789 790", "4.4M", "training.batch_size", "inside noise"):
        assert words in text


def test_all_four_states_are_seen(root):
    """The preset has an inherited score, a missing run, our numbers and the paper's."""
    for entry in PAPER["retention_datasets"]:
        Runs(root / "results", "paper").inherited("InternVL3-1B", "slq", entry["name"])
    shutil.rmtree(root / "results/paper/InternVL3-8B/lora")
    out = root / "paper_tables/paper"
    render(LAYOUT, root / "results", root / "paper_tables/reference", TEMPLATES, out)
    write(root)
    cells = Page(out / "report.html").all("td")
    states = Counter(word for cell in cells for word in (cell.get("class") or "").split())
    assert all(states[state] > 0 for state in ("measured", "quoted", "inherited", "missing"))


def test_it_says_what_it_cost_and_under_which_circumstances(page):
    text = re.sub(r"\s+", " ", page.text)
    assert "SLQ NVIDIA H200 3.2 0.50 4.2 2,900".replace(" ", "") in text.replace(" ", "")
    assert "python 3.11.7 · torch 2.13.0" in text and f"{40 * 'c'}"[:10] in text
    assert len(page.all("code")) == 40 and f"{H200['count']} x {H200['name']}" in text


def test_versions_that_differ_are_counted(root):
    run = Runs(root / "results", "paper")
    other = PROVENANCE | {"git": None, "versions": {"torch": "2.14.0"}}
    run.run("InternVL3-1B", "slq", 10, H200, spans={"train": 450.0}, provenance=other)
    write(root)
    text = Page(root / "paper_tables/paper/report.html").text
    assert "torch 2.13.0 (39 runs), 2.14.0 (1 runs)" in text and "not in git" in text


def test_the_audit_of_the_paper_is_on_it(folder, page):
    for finding in read_json(folder.parent / "audit.json")["findings"]:
        assert finding["statement"] in page.text and all(line in page.text for line in finding["arithmetic"])


def test_a_backbone_more_is_rows_more(root):
    """Only its results and its entry in the layout are new."""
    results = root / "results" / "paper"
    shutil.copytree(results / "InternVL3-1B", results / "Another")
    for path in (results / "Another").glob("*/*/run.json"):
        write_json(path, read_json(path) | {"backbone": "Another"})
    more = {"name": "Another", "label": "Another-3B", "paper_name": "InternVL3-1B"}
    layout = LAYOUT | {"backbones": [*PAPER["backbones"], more]}
    before = len(Page(root / "paper_tables/paper/report.html").all("tr"))
    finish(root, layout)
    found = Page(root / "paper_tables/paper/report.html")
    assert "Another-3B, COCO T2I R@5, SLQ minus LoRA" in found.text
    assert len(found.all("tr")) > before + 40 and len(found.all("code")) == 50


def test_without_any_run_it_says_so(root):
    for entry in PAPER["backbones"]:
        shutil.rmtree(root / "results/paper" / entry["name"])
    (root / "results/paper/gpu_hours.csv").unlink()
    sides = {"a": "results/paper", "b": "paper", "reference": REFERENCE, "preset": "paper"}
    settings = job_settings.compare_settings(validate_config(yaml.safe_load((ROOT / "config.yaml").read_text())))
    write_comparison(settings=settings, json_file=root / "results/paper/compare/paper.json", **sides)
    finish(root, LAYOUT)
    text = Page(root / "paper_tables/paper/report.html").text
    assert "Of the 140 cells of its tables: 0 measured." in text
    assert "Not run yet." in text and "No run exists." in text and "No cost is recorded" in text


def test_the_same_files_give_the_same_bytes(root):
    path = root / "paper_tables/paper/report.html"
    first = path.read_bytes()
    write(root)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("results/paper/claims.json", "cannot be read"),
        ("results/paper/compare/paper.json", "cannot be read"),
        ("paper_tables/audit.json", "cannot be read"),
        ("paper_tables/paper/table3.html", "cannot be read"),
        ("paper_tables/paper/figures/recall.svg", "cannot be read"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_written(root, file, message):
    (root / file).unlink()
    page = root / "paper_tables/paper/report.html"
    page.unlink()
    with pytest.raises(SlqError, match=re.escape(file.rpartition("/")[2]) + f".*{message}"):
        write(root)
    assert not page.exists()


def test_another_form_is_refused(root):
    path = root / "results/paper/claims.json"
    write_json(path, read_json(path) | {"schema": 3})
    with pytest.raises(SlqError, match=r"claims.json: key schema is 3; expected 2"):
        write(root)


# ---- accessibility ---------------------------------------------------------------------------------------------------


def test_tables_have_names_pictures_words_and_headings_an_order(page):
    text = page.text
    assert all(own["alt"] for own in page.all("img")) and len(page.all("img")) == len(FIGURES)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.all("html")[0]["lang"] == "en" and page.all("main") and page.all("nav")[0]["aria-label"]
    assert all(own.get("scope") for own in page.all("th"))
    assert "The paper's claims, in our words" in text


def colours():
    """Colours of the stylesheets by name, for each scheme."""
    css = "".join((TEMPLATES / f"{name}.css.j2").read_text() for name in ("table", "report"))
    screen = css.replace(css[css.index("@media print") :], "")
    schemes: dict[str, dict[str, str]] = {"light": {}, "dark": {}}
    for block in re.finditer(r"(@media \(prefers-color-scheme: dark\) \{\s*)?:root \{([^}]*)\}", screen):
        schemes["dark" if block[1] else "light"] |= dict(re.findall(r"--([\w-]+): #(\w+)", block[2]))
    return schemes


def luminance(colour):
    """Relative luminance of WCAG 2."""
    digits = "".join(2 * one for one in colour) if len(colour) == 3 else colour
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(scheme):
    """The contrast is at least 4.5 to 1 (WCAG 2, level AA)."""
    found = colours()[scheme]
    pairs = [("ink", "paper"), ("soft", "paper"), ("soft", "card"), ("link", "paper"), ("ink", "hover")]
    pairs += [(tone, f"{tone}-wash") for tone in ("good", "bad", "open", "none")]
    for one, other in pairs:
        high, low = sorted((luminance(found[one]), luminance(found[other])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (one, other)


# ---- a browser -------------------------------------------------------------------------------------------------------


def opened(browser, path, tmp_path):
    """Console messages of a browser that shows a file, and the addresses that it requests."""
    log = tmp_path / "net.json"
    command = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--log-net-log={log}",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--disable-background-networking", "--disable-sync"]
    command += ["--no-first-run", "--disable-component-update", "--disable-default-apps", "--dump-dom", path.as_uri()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "</html>" in answer.stdout, answer.stderr
    console = [line for line in answer.stderr.splitlines() if "CONSOLE" in line]
    urls = {url for url in re.findall(r'"url":"([^"]+)"', log.read_text()) if not url.startswith(("file:", "data:"))}
    # Requests to the browser's maker occur for any page; another test checks that the page names no such host.
    return console, {url for url in urls if not re.match(r"https?://[\w.-]+\.(google|googleapis|gstatic)\.com/", url)}


def test_a_browser_shows_it_without_a_word_and_asks_nobody(browser, folder, tmp_path):
    assert opened(browser, folder / "report.html", tmp_path) == ([], set())


def test_the_browser_would_have_told(browser, tmp_path):
    path = tmp_path / "loud.html"
    path.write_text("<html><script>console.error('loud')</script><img src='http://127.0.0.1:9/x.png'></html>")
    console, asked = opened(browser, path, tmp_path)
    assert any("loud" in line for line in console) and "http://127.0.0.1:9/x.png" in asked


# ---- the rules -------------------------------------------------------------------------------------------------------


def test_the_page_asks_for_what_it_is_made_of_and_all_asks_for_it(checkout):
    """For a copy of results with a comparison, no data is made and nothing is trained."""
    place(checkout, "results/mini/compare/paper.json")
    plan = planned(checkout, "report", "--config", "cells=present")
    assert {rule: plan[rule] for rule in ("judge_claims", "paper_audit", "render_tables", "draw_figures", "write_page")}
    assert not {"train", "evaluate_retrieval", "make_synthetic_split"} & set(plan)
    assert {"judge_claims", "paper_audit", "write_page"} <= set(planned(checkout))


def test_a_template_of_the_page_renders_alone(checkout):
    place(checkout, "results/mini/compare/paper.json")
    jobs = listed_jobs(checkout, "mini", "report")
    (page,) = (job for job in jobs if job["rule"] == "write_page")
    assert "paper_tables/templates/report.css.j2" in page["input"]
    trained = [
        job for job in jobs if job["rule"] in ("train", "evaluate_retrieval", "evaluate_retention", "judge_claims")
    ]
    assert trained and not any("paper_tables/templates/report.html.j2" in job["input"] for job in trained)
