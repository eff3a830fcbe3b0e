"""Everything that is asked of the paper alone: its numbers of arithmetic, its tables of each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slq.claims import consistency, costs, numbers
from slq.claims.check import Answers, Check, ask
from slq.claims.output import audit_content, audit_page, number_csv, number_findings
from slq.claims.paper import FORMS, Paper, header
from slq.files import write_json, write_text

# A question more is a line more; those to single numbers are `numbers.CHECKS`, those to our results claims.yaml's.
CHECKS: tuple[Check[Paper], ...] = (
    Check("marks-table1", "Best and second best in Table 1", lambda paper: consistency.marks(paper.table1, "Table 1")),
    Check("marks-table3", "Best in Table 3", lambda paper: consistency.marks(paper.table3, "Table 3")),
    Check("parameters", "Counts of trained parameters in Table 3", costs.parameters),
    Check("shares", "Scores that are no whole share", consistency.shares),
    Check("base", "Scores that are the untouched backbone's", consistency.base_scores),
    Check("noise", "Gaps within one sample's noise", consistency.noise),
    Check("hours", "GPU hours against FLOPs", costs.hours),
    Check("overlap", "Test images in the training list", consistency.overlap),
)


def audit_paper(settings: Mapping[str, Any], reference: Path, out: Path) -> None:
    """Ask everything of the paper; write `audit.json`, `audit.md` and `plausibility.csv`, and print the counts.

    Args:
        settings: of `cost_settings.paper_audit_settings`
        reference: the folder of the paper's values
        out: the folder of the three

    Raises:
        SlqError: a table cannot be read; nothing is written then.
    """
    paper = Paper(reference, reference.parents[1] / "results", settings)
    content = audit_content(ask(CHECKS, paper))
    tables = [path for path in sorted(reference.glob("*.csv")) if header(path) in FORMS.values()]
    answers, summary = check_numbers(paper, tables)
    write_json(out / "audit.json", content)
    write_text(out / "audit.md", audit_page(content))
    write_text(out / "plausibility.csv", number_csv(answers))
    for check in content["checks"]:
        print(f"{check['found']:6,} of {check['asked']:5,}  {check['title']}")
    print(summary)


def check_numbers(paper: Paper, tables: Sequence[Path]) -> tuple[Answers, str]:
    """All answers about the numbers of some tables, each asked once, and one line that counts them.

    Raises:
        SlqError: a table cannot be read, or is of no known form.
    """
    read = [number for path in tables for number in paper.read(path)]
    shares = list(dict.fromkeys(number for number in read if number.is_share))
    others = sum(not number.is_share for number in read)
    answers = ask(numbers.CHECKS, shares)
    counts = ", ".join(result.reason for _, result in answers)
    return answers, f"{len(shares)} numbers: {counts}; {others} further cells are costs, widths, words or dashes"


def report_numbers(tables: Sequence[Path], reference: Path, out: Path | None) -> None:
    """Print the findings about the numbers of some tables, and write every answer to `out`, if given.

    Args:
        reference: the folder of the paper's values

    Raises:
        SlqError: as `check_numbers`.
    """
    answers, summary = check_numbers(Paper(reference, reference.parents[1] / "results"), tables)
    if out:
        write_text(out, number_csv(answers))
    print(number_findings(answers) + summary)
