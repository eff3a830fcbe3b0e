"""The subcommands about the answer to "does it reproduce?": claims, the paper's own tables, the page."""

import argparse
from pathlib import Path

from slq.arguments import JSON, PATH, Commands


def claims(args: argparse.Namespace) -> None:
    from slq.claims.verdicts import judge_claims

    judge_claims(args.settings, args.results, args.reference, args.out)


def paper_audit(args: argparse.Namespace) -> None:
    from slq.paper_audit.audit import audit_paper

    audit_paper(args.settings, args.reference, args.out)


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
    "report": (
        report,
        "write the page of a preset: does it reproduce?",
        {
            **{"--layout": JSON, "--results": PATH, "--audit": PATH, "--templates": PATH, "--out": PATH},
            "--figures": {"type": Path, "nargs": "*", "default": [], "metavar": "SVG"},
        },
    ),
}
