"""Subcommands that compare results, and that pack results so that others can compare them."""

import argparse
import json
import sys
from pathlib import Path

from slq.commands.arguments import Commands
from slq.common.errors import SlqError


def compare(args: argparse.Namespace) -> None:
    """Compare two sets of results cell by cell and print the verdicts (`slq compare`).

    Raises:
        SlqError: a cell has a verdict of `--fail-on`.
    """
    from slq.common.files import write_json, write_text
    from slq.reporting.comparison import output
    from slq.reporting.comparison.compare import as_json, compare_results
    from slq.reporting.comparison.metric_values import parse_comparison_settings

    comparison = compare_results(
        args.a, args.b, parse_comparison_settings(args.settings or load_compare_settings(args.config)), args.reference
    )
    text = output.format_comparison(comparison)
    print(text, end="", flush=True)
    for notice in (*comparison.a.notices, *comparison.b.notices):
        print(f"slq: warning: {notice}", file=sys.stderr)
    if args.json:
        write_json(args.json, as_json(comparison))
    if args.text:
        write_text(args.text, text)
    failing_counts = {
        verdict: comparison.verdict_counts[verdict] for verdict in args.fail_on if comparison.verdict_counts[verdict]
    }
    if failing_counts:
        raise SlqError("compare: " + ", ".join(f"{count} {verdict}" for verdict, count in failing_counts.items()))


def load_compare_settings(files: list[Path]) -> dict[str, object]:
    """Load the settings of a comparison from the configuration, for a call in which no rule passes them."""
    from slq.config.job_settings import compare_settings
    from slq.sources.listing import load_merged_config

    settings: dict[str, object] = json.loads(compare_settings(load_merged_config(files)))
    return settings


def bundle(args: argparse.Namespace) -> None:
    """Pack the results of a preset into an archive (`slq bundle`)."""
    from slq.reporting.comparison.bundles import find_preset_folder, write_bundle
    from slq.results.load import check_metrics_files, print_warnings

    folder = find_preset_folder(str(args.results), args.results)
    checked = check_metrics_files(folder)
    count = write_bundle(folder, args.out)
    print(f"{args.out}: {count} files")
    print_warnings(checked)


FILE_OPTION = {"type": Path, "metavar": "FILE"}
SOURCE_HELP = "a folder of results, a bundle, or the word paper"
COMMANDS: Commands = {
    "compare": (
        compare,
        "set two results beside each other, cell by cell, with a verdict each",
        {
            "a": {"metavar": "A", "help": SOURCE_HELP},
            "b": {"metavar": "B", "help": "likewise"},
            "--json": FILE_OPTION | {"help": "write the comparison in the form of results/<preset>/compare/paper.json"},
            "--text": FILE_OPTION | {"help": "write what is printed"},
            "--fail-on": {
                "action": "append",
                "default": [],
                "choices": ["differs", "inside noise", "not comparable", "stale", "missing", "extra"],
                "help": "exit with status 1 if a cell has this verdict; may be given again",
            },
            "--config": {
                "type": Path,
                "nargs": "+",
                "default": [Path("config.yaml")],
                "help": "where tolerances and names are from: config.yaml, and files laid over it",
            },
            "--settings": {"type": json.loads, "help": "the same, from a rule"},
            "--reference": {"type": Path, "default": Path("paper_tables/reference"), "help": "the paper's values"},
        },
    ),
    "bundle": (
        bundle,
        "pack a preset's results for a colleague: the same bytes for the same files",
        {
            "results": {"type": Path, "help": "a folder of results, e.g. results/mini"},
            "out": {"type": Path, "metavar": "OUT.tar.gz", "help": "where the bundle goes"},
        },
    ),
}
