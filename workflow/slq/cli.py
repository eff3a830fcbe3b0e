"""`slq`: one subcommand per rule of the workflow, and what people type. Paths and settings of a rule come from it."""

import argparse
import gc
import os
import sys
from pathlib import Path

from slq.commands.arguments import Call, Commands, flags, of_rule, parse, quiet_libraries
from slq.commands.comparison import COMMANDS as COMPARE
from slq.commands.cost import COMMANDS as ACCOUNT
from slq.commands.cost import doctor
from slq.commands.export import COMMANDS as USE
from slq.common.errors import SlqError

# Imports of torch and transformers stay inside the subcommands: `slq --help` and rendering answer at once.


def fetch(args: argparse.Namespace) -> None:
    from slq.sources.fetch import fetch_source, offline

    fetch_source(args.settings, args.out, args.locks, args.offline or offline())


def sources(args: argparse.Namespace) -> None:
    from slq.sources.listing import listing

    print(listing(args.config, args.preset))


def select(args: argparse.Namespace) -> None:
    from slq.evaluation.retrieval import recalls_on
    from slq.training.lr_sweep import select_rate

    paths = (args.backbone, args.data, args.train_set, args.work, args.out)
    select_rate(args.settings, args.seed, *paths, recalls_on(args.settings))


def train(args: argparse.Namespace) -> None:
    from slq.evaluation.retrieval import recalls_on
    from slq.training.distributed import launched
    from slq.training.run import run_training

    paths = (args.backbone, args.data, args.train_set, args.work, args.adapter, args.run, args.events)
    if not launched(args.processes, sys.argv[1:]):
        validate = recalls_on(args.settings)
        run_training(args.settings, args.seed, *paths, validate, args.code, args.minutes, args.prefixes)


def blind(args: argparse.Namespace) -> None:
    from slq.evaluation.retention import retain

    paths = (args.backbone, args.adapter, args.data, args.work, args.out, args.events)
    retain(args.settings, args.code, *paths, with_images=False)


def queries(args: argparse.Namespace) -> None:
    from slq.datasets.prepared import read_split
    from slq.reporting.queries import draw_queries

    split = read_split(args.data, args.settings["set"], "test")
    pictures = {item["id"]: item["image"] for item in split.items}
    draw_queries(args.settings, args.top, args.results, lambda image: split.open(pictures[image]), args.out)


def render_pilot(args: argparse.Namespace) -> None:
    from slq.datasets.pilot_images import named_images, open_named
    from slq.reporting.pilot import render_pilot as render

    files = named_images(args.settings, args.data)
    render(args.settings, args.results, lambda name: open_named(files[name]), args.out)


COMMANDS: Commands = {
    "draw": of_rule("slq.synthetic.datasets:draw_split", "draw a split of the mini world", "settings out"),
    "adopt": of_rule(
        "slq.datasets.local:adopt_split",
        "check a supplied split and write its prepared form",
        "set split kind columns same-image from out",
    ),
    "prepare": of_rule(
        "slq.datasets.prepare:prepare_split",
        "write the prepared form of a split of a fetched source",
        "settings from out",
    ),
    "gather": of_rule(
        "slq.datasets.queries:gather_queries",
        "write the prepared form of queries that a person wrote for images of another set",
        "settings queries data out",
    ),
    "fetch": (
        fetch,
        "bring a source, whole and proved",
        {
            **flags("settings", "out", "locks"),
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
    "audit": of_rule(
        "slq.datasets.leak_audit:audit", "check that training and test sets are apart", "settings data work threads out"
    ),
    "instrument": of_rule(
        "slq.evaluation.reference_check:check_instruments",
        "check data and scorer by the published recalls of public models",
        "settings encoders data golden out",
        "threads",
    ),
    "pretrain": of_rule(
        "slq.synthetic.backbones:pretrain", "train a mini backbone from scratch", "settings data out", "threads"
    ),
    "pretrain-encoder": of_rule(
        "slq.synthetic.encoders:pretrain_encoder",
        "train a mini dual encoder from scratch",
        "settings data out",
        "threads",
    ),
    "store": of_rule(
        "slq.caching.build:store_prefixes",
        "keep what does not change of the images that training reads",
        "settings backbone data train-set work out events code",
        "threads",
    ),
    "base": of_rule(
        "slq.training.run_record:register_base",
        "record the untouched backbone as a run",
        "settings backbone adapter run",
        "threads",
    ),
    "train": (
        train,
        "train a run",
        {
            **flags("settings", "backbone", "adapter", "run", "threads", "seed", "data", "train-set", "work"),
            **flags("events", "code", "processes", "minutes"),
            "--prefixes": {"type": Path, "nargs": "?"},
        },
    ),
    "select": (
        select,
        "try learning rates on the val split",
        flags("settings", "seed", "backbone", "data", "train-set", "work", "out", "threads"),
    ),
    "retrieve": of_rule(
        "slq.evaluation.retrieval:retrieve",
        "evaluate a run on the retrieval sets",
        "settings backbone adapter data out events",
        "threads",
    ),
    "retain": of_rule(
        "slq.evaluation.retention:retain",
        "evaluate a run on the retention sets",
        "settings code backbone adapter data work out events retained",
        "threads",
    ),
    "blind": (
        blind,
        "ask a run the questions of the retention sets without their images",
        flags("settings", "code", "backbone", "adapter", "data", "work", "out", "events", "threads"),
    ),
    "prove": of_rule(
        "slq.evaluation.equivalence:prove",
        "prove that a run answers the retention sets as base does",
        "settings backbone adapter data base retained out events",
        "threads",
    ),
    "embed": of_rule(
        "slq.baselines.encode:embed_row",
        "measure a comparator, or an untrained read-out, on the retrieval sets",
        "settings model data work out",
        "threads",
    ),
    "rerank": of_rule(
        "slq.baselines.rerank:rerank",
        "let a backbone look again at the first candidates of a coarse list",
        "settings backbone coarse by data work out",
        "threads",
    ),
    "pilot measure": of_rule(
        "slq.baselines.pilot:measure_pilot",
        "write how similar an untrained backbone finds texts and images, by read-out",
        "settings backbone data out",
        "threads",
    ),
    "pilot render": (render_pilot, "draw the pilot's figure", flags("settings", "results", "data", "out")),
    "score": (
        Call("slq.evaluation.rescoring:score_tree", ("results", "write")),
        "score stored answers and count stored ranks again, and compare with what is stored",
        {
            "results": {"type": Path, "help": "a folder of results, e.g. results/mini"},
            "--write": {"action": "store_true", "help": "write what differs anew"},
        },
    ),
    "tables": of_rule(
        "slq.reporting.tables:render", "render the tables from results alone", "layout results reference templates out"
    ),
    "figures": of_rule(
        "slq.reporting.figures:draw_figures", "draw the figures from results alone", "layout results out"
    ),
    "queries": (
        queries,
        "draw what a few test captions find",
        flags("settings", "top", "results", "data", "out"),
    ),
    "claims": of_rule(
        "slq.claims.judge:judge_claims",
        "judge the claims of the paper on results alone",
        "settings results reference out",
    ),
    "paper-audit": of_rule(
        "slq.claims.paper_audit:audit_paper",
        "ask the paper's own tables of each other and of arithmetic",
        "settings reference out",
    ),
    "report": (
        Call("slq.reporting.page.page:write_page", ("layout", "results", "audit", "figures", "templates", "out")),
        "write the page of a preset: does it reproduce?",
        {
            **flags("layout", "results", "audit", "templates", "out"),
            "--figures": {"type": Path, "nargs": "*", "default": [], "metavar": "SVG"},
        },
    ),
    **ACCOUNT,
    **COMPARE,
    **USE,
    "pdf": of_rule("slq.reporting.pdf:compile_pdf", "compile the tables with pdflatex", "tex pdf"),
}
LEARNING = ("store", "select", "train")  # commands that wait for the checks


def after_checks() -> None:
    """Go on, or stop before any work.

    Raises:
        SlqError: a file that the workflow names in SLQ_CHECKS is not there: its check has not passed.
    """
    for checked in filter(None, os.environ.get("SLQ_CHECKS", "").split(os.pathsep)):
        if not Path(checked).is_file():
            raise SlqError(
                f"{checked}: not there: this check has not passed, and nothing is trained before it has; "
                f"run `snakemake {checked}`, with the options of this call, and see its message"
            )


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or the error's own status after one message on standard error."""
    gc.set_threshold(200_000)  # of the objects that torch and transformers make and keep, the collector takes 1.5 s
    args = parse(COMMANDS, __doc__, argv)
    fetching = args.function in (fetch, doctor)
    quiet_libraries(getattr(args, "threads", None), getattr(args, "processes", 1), fetching)
    try:
        if args.command in LEARNING:
            after_checks()
        args.function(args)
    except SlqError as error:
        print(f"slq: error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
