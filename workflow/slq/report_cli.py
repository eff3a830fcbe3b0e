"""The subcommands about the answer to "does it reproduce?": claims, the paper's own numbers and tables, the page."""

import argparse
from pathlib import Path

from slq.arguments import JSON, PATH, Commands


def claims(args: argparse.Namespace) -> None:
    from slq.claims.judge import judge_claims

    judge_claims(args.settings, args.results, args.reference, args.out)


def paper_audit(args: argparse.Namespace) -> None:
    from slq.claims.audit import audit_paper

    audit_paper(args.settings, args.reference, args.out)


def plausible(args: argparse.Namespace) -> None:
    from slq.claims.audit import report_numbers

    report_numbers(args.tables, args.reference, args.out)


def report(args: argparse.Namespace) -> None:
    from slq.page.page import write_page

    write_page(args.layout, args.results, args.audit, args.figures, args.templates, args.out)


COMMANDS: Commands = {
    "claims": (
        claims,
        "judge the claims of the paper on results alone",
        {"--settings": JSON, "--results": PATH, "--reference": PATH, "--out": PATH},
    ),
    "paper-audit": (
        paper_audit,
        "ask the paper's own tables of each other and of arithmetic",
        {"--settings": JSON, "--reference": PATH, "--out": PATH},
    ),
    "plausible": (
        plausible,
        "say which numbers of a table can be what they claim: a share k/n, beside base's interval and chance",
        {
            "tables": {"type": Path, "nargs": "+", "metavar": "CSV", "help": "a table of paper_tables/reference"},
            "--reference": {"type": Path, "default": Path("paper_tables/reference"), "help": "the paper's values"},
            "--out": {"type": Path, "help": "a CSV of every answer, findings or not"},
        },
    ),
    "report": (
        report,
        "write the page of a preset: does it reproduce?",
        {
            **{"--layout": JSON, "--results": PATH, "--audit": PATH, "--templates": PATH, "--out": PATH},
            "--figures": {"type": Path, "nargs": "*", "default": [], "metavar": "SVG"},
        },
    ),
}
