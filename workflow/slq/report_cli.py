"""The subcommands about the answer to "does it reproduce?": claims, the paper's own tables, the page."""

import argparse

from slq.arguments import JSON, PATH, Commands


def claims(args: argparse.Namespace) -> None:
    from slq.claims.verdicts import judge_claims

    judge_claims(args.settings, args.results, args.reference, args.out)


def paper_audit(args: argparse.Namespace) -> None:
    from slq.paper_audit.audit import audit_paper

    audit_paper(args.settings, args.reference, args.out)


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
}
