"""`slq`: one subcommand per rule of the workflow. Every path and setting comes from the rule."""

import argparse
import gc
import sys
from pathlib import Path
from typing import Any

from slq.account_cli import COMMANDS as ACCOUNT
from slq.account_cli import doctor
from slq.arguments import JSON, PATH, TEXT, WHOLE, Commands, offline, parse, quiet_libraries
from slq.bench_cli import COMMANDS as BENCH
from slq.compare_cli import COMMANDS as COMPARE
from slq.errors import SlqError
from slq.export.cli import COMMANDS as USE
from slq.pilot_cli import COMMANDS as PILOT
from slq.report_cli import COMMANDS as REPORT
from slq.row_cli import COMMANDS as ROWS
from slq.train_cli import COMMANDS as TRAIN

# Imports of torch and transformers stay inside the subcommands: `slq --help` and rendering answer at once.


def draw(args: argparse.Namespace) -> None:
    from slq.world.sets import draw_split

    draw_split(args.settings, args.out)


def adopt(args: argparse.Namespace) -> None:
    from slq.data.adopt import adopt_split

    adopt_split(args.set, args.split, args.kind, args.columns, args.same_image, args.source, args.out)


def prepare(args: argparse.Namespace) -> None:
    from slq.data.prepare import prepare_split

    prepare_split(args.settings, args.source, args.out)


def gather(args: argparse.Namespace) -> None:
    from slq.data.queries import gather_queries

    gather_queries(args.settings, args.queries, args.data, args.out)


def fetch(args: argparse.Namespace) -> None:
    from slq.sources.fetch import fetch_source

    fetch_source(args.settings, args.out, args.locks, args.offline or offline())


def sources(args: argparse.Namespace) -> None:
    from slq.sources.listing import listing

    print(listing(args.config, args.preset))


def audit(args: argparse.Namespace) -> None:
    from slq.data.audit import audit as check
    from slq.files import write_json

    write_json(args.out, check(args.settings, args.data, args.work, args.threads))


def instrument(args: argparse.Namespace) -> None:
    from slq.evaluation.instrument import check_instruments

    check_instruments(args.settings, args.encoders, args.data, args.golden, args.out)


def pretrain(args: argparse.Namespace) -> None:
    from slq.world.backbones import pretrain as train_from_scratch

    train_from_scratch(args.settings, args.data, args.out)


def pretrain_encoder(args: argparse.Namespace) -> None:
    from slq.world.duals import pretrain_encoder as train_from_scratch

    train_from_scratch(args.settings, args.data, args.out)


def retrieve(args: argparse.Namespace) -> None:
    from slq.evaluation.run import retrieve as evaluate

    evaluate(args.settings, args.backbone, args.adapter, args.data, args.out, args.events)


def retain(args: argparse.Namespace) -> None:
    from slq.evaluation.answers import retain as evaluate

    paths = (args.backbone, args.adapter, args.data, args.work, args.out, args.events)
    evaluate(args.settings, args.code, *paths, retained=args.retained)


def blind(args: argparse.Namespace) -> None:
    from slq.evaluation.answers import retain as evaluate

    paths = (args.backbone, args.adapter, args.data, args.work, args.out, args.events)
    evaluate(args.settings, args.code, *paths, with_images=False)


def prove(args: argparse.Namespace) -> None:
    from slq.evaluation.proof import prove as evaluate

    paths = (args.backbone, args.adapter, args.data, args.base, args.retained, args.out, args.events)
    evaluate(args.settings, *paths)


def score(args: argparse.Namespace) -> None:
    from slq.evaluation.rescoring import score_tree

    score_tree(args.results, args.write)


def tables(args: argparse.Namespace) -> None:
    from slq.plausibility.report import check_rendered
    from slq.reporting.tables import render

    render(args.layout, args.results, args.reference, args.templates, args.out)
    check_rendered(args.out, args.results, args.reference)


def plausible(args: argparse.Namespace) -> None:
    from slq.plausibility.report import report

    report(args.tables, args.results, args.reference, args.out)


def figures(args: argparse.Namespace) -> None:
    from slq.reporting.figures import draw_figures

    draw_figures(args.layout, args.results, args.out)


def queries(args: argparse.Namespace) -> None:
    from slq.data.prepared import read_split
    from slq.reporting.queries import draw_queries

    split = read_split(args.data, args.settings["set"], "test")
    pictures = {item["id"]: item["image"] for item in split.items}
    draw_queries(args.settings, args.top, args.results, lambda image: split.open(pictures[image]), args.out)


def pdf(args: argparse.Namespace) -> None:
    from slq.reporting.pdf import compile_pdf

    compile_pdf(args.tex, args.pdf)


EVALUATE: dict[str, dict[str, Any]] = {
    **{"--settings": JSON, "--backbone": PATH, "--adapter": PATH, "--data": PATH, "--out": PATH},
    **{"--events": PATH, "--threads": WHOLE},
}
ANSWER = {**EVALUATE, "--work": PATH, "--code": TEXT}
COMMANDS: Commands = {
    "draw": (draw, "draw a split of the mini world", {"--settings": JSON, "--out": PATH}),
    "adopt": (
        adopt,
        "check a supplied split and write its prepared form",
        {
            **{"--set": TEXT, "--split": TEXT, "--kind": TEXT, "--columns": {"default": ""}},
            **{"--same-image": {"default": ""}, "--from": PATH | {"dest": "source"}, "--out": PATH},
        },
    ),
    "prepare": (
        prepare,
        "write the prepared form of a split of a fetched source",
        {"--settings": JSON, "--from": PATH | {"dest": "source"}, "--out": PATH},
    ),
    "gather": (
        gather,
        "write the prepared form of queries that a person wrote for images of another set",
        {"--settings": JSON, "--queries": PATH, "--data": PATH, "--out": PATH},
    ),
    "fetch": (
        fetch,
        "bring a source, whole and proved",
        {
            **{"--settings": JSON, "--out": PATH, "--locks": PATH},
            "--offline": {"action": "store_true", "help": "ask no server: what is not here is an error"},
        },
    ),
    "sources": (
        sources,
        "print the table of sources: what is there, what it costs, which terms a person has to accept",
        {
            "config": {"type": Path, "nargs": "*", "help": "config.yaml, and files laid over it"},
            "--preset": {"help": "only what this preset fetches"},
        },
    ),
    "audit": (
        audit,
        "check that training and test sets are apart",
        {"--settings": JSON, "--data": PATH, "--work": PATH, "--out": PATH, "--threads": WHOLE},
    ),
    "instrument": (
        instrument,
        "check data and scorer by the published recalls of public models",
        {
            **{"--settings": JSON, "--encoders": PATH, "--data": PATH, "--golden": PATH, "--out": PATH},
            "--threads": WHOLE,
        },
    ),
    "pretrain": (
        pretrain,
        "train a mini backbone from scratch",
        {"--settings": JSON, "--data": PATH, "--out": PATH, "--threads": WHOLE},
    ),
    "pretrain-encoder": (
        pretrain_encoder,
        "train a mini dual encoder from scratch",
        {"--settings": JSON, "--data": PATH, "--out": PATH, "--threads": WHOLE},
    ),
    **TRAIN,
    "retrieve": (retrieve, "evaluate a run on the retrieval sets", EVALUATE),
    "retain": (retain, "evaluate a run on the retention sets", {**ANSWER, "--retained": PATH}),
    "blind": (blind, "ask a run the questions of the retention sets without their images", ANSWER),
    "prove": (
        prove,
        "prove that a run answers the retention sets as base does",
        {**EVALUATE, "--base": PATH, "--retained": PATH},
    ),
    "score": (
        score,
        "score stored answers and count stored ranks again, and compare with what is stored",
        {
            "results": {"type": Path, "help": "a folder of results, e.g. results/mini"},
            "--write": {"action": "store_true", "help": "write what differs anew"},
        },
    ),
    "tables": (
        tables,
        "render the tables from results alone",
        {"--layout": JSON, "--results": PATH, "--reference": PATH, "--templates": PATH, "--out": PATH},
    ),
    "plausible": (
        plausible,
        "say which numbers of a table can be what they claim: a share k/n, beside base's interval and chance",
        {
            "tables": {"type": Path, "nargs": "+", "metavar": "CSV", "help": "cells.csv, or of paper_tables/reference"},
            "--results": {"type": Path, "default": Path("results"), "help": "where a cells.csv has its numbers from"},
            "--reference": {"type": Path, "default": Path("paper_tables/reference"), "help": "the paper's values"},
            "--out": {"type": Path, "help": "a CSV of every answer, findings or not"},
        },
    ),
    "figures": (figures, "draw the figures from results alone", {"--layout": JSON, "--results": PATH, "--out": PATH}),
    "queries": (
        queries,
        "draw what a few test captions find",
        {"--settings": JSON, "--top": PATH, "--results": PATH, "--data": PATH, "--out": PATH},
    ),
    **ACCOUNT,
    **BENCH,
    **COMPARE,
    **PILOT,
    **REPORT,
    **ROWS,
    **USE,
    "pdf": (pdf, "compile the tables with pdflatex", {"--tex": PATH, "--pdf": PATH}),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or the error's own status after one message on standard error."""
    gc.set_threshold(200_000)  # of the objects that torch and transformers make and keep, the collector takes 1.5 s
    args = parse(COMMANDS, __doc__, argv)
    fetching = args.function in (fetch, doctor)
    quiet_libraries(getattr(args, "threads", None), getattr(args, "processes", 1), fetching)
    try:
        args.function(args)
    except SlqError as error:
        print(f"slq: error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
