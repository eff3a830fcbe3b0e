"""`slq`: one subcommand for each rule of the workflow, and those that people type themselves.

Paths and settings of a rule come from the workflow.
"""

import argparse
import gc
import os
import sys
from pathlib import Path

from slq.commands.arguments import (
    Commands,
    LazyCall,
    configure_libraries,
    declare_command,
    flag_options,
    parse_arguments,
)
from slq.commands.comparison import COMMANDS as COMPARE
from slq.commands.cost import COMMANDS as ACCOUNT
from slq.commands.cost import doctor
from slq.commands.export import COMMANDS as USE
from slq.common.errors import SlqError

# Subcommands import torch and transformers themselves, so that `slq --help` and rendering start at once.


def fetch(args: argparse.Namespace) -> None:
    """Fetch a source (`slq fetch`)."""
    from slq.sources.fetch import fetch_source, is_offline

    fetch_source(args.settings, args.out, args.locks, args.offline or is_offline())


def sources(args: argparse.Namespace) -> None:
    """Print the table of sources (`slq sources`)."""
    from slq.sources.listing import format_source_table

    print(format_source_table(args.config, args.preset))


def select(args: argparse.Namespace) -> None:
    """Sweep the learning rates of a run on the validation split (`slq select`)."""
    from slq.evaluation.retrieval import build_recall_validator
    from slq.training.lr_sweep import sweep_learning_rates

    paths = (args.backbone, args.data, args.train_dataset, args.work, args.out)
    sweep_learning_rates(args.settings, args.seed, *paths, build_recall_validator(args.settings))


def train(args: argparse.Namespace) -> None:
    """Train a run in one process, or start several processes that train it together (`slq train`)."""
    from slq.evaluation.retrieval import build_recall_validator
    from slq.training.distributed import launch_distributed
    from slq.training.run import run_training

    paths = (args.backbone, args.data, args.train_dataset, args.work, args.adapter, args.run, args.events)
    if not launch_distributed(args.processes, sys.argv[1:]):
        validate = build_recall_validator(args.settings)
        run_training(args.settings, args.seed, *paths, validate, args.code, args.minutes, args.prefixes)


def blind(args: argparse.Namespace) -> None:
    """Evaluate a run on the retention datasets without their images (`slq blind`)."""
    from slq.evaluation.retention import evaluate_retention

    paths = (args.backbone, args.adapter, args.data, args.work, args.out, args.events)
    evaluate_retention(args.settings, args.code, *paths, with_images=False)


def queries(args: argparse.Namespace) -> None:
    """Draw the figure of a few test captions and the images retrieved for them (`slq queries`)."""
    from slq.datasets.splits import read_split
    from slq.reporting.queries import draw_queries

    split = read_split(args.data, args.settings["dataset"], "test")
    image_files = {item["id"]: item["image"] for item in split.items}
    draw_queries(args.settings, args.top, args.results, lambda image: split.open(image_files[image]), args.out)


def render_pilot(args: argparse.Namespace) -> None:
    """Draw the figure of the pilot (`slq pilot render`)."""
    from slq.datasets.pilot_images import find_pilot_images, open_pilot_image
    from slq.reporting.pilot import render_pilot as render

    image_files = find_pilot_images(args.settings, args.data)
    render(args.settings, args.results, lambda name: open_pilot_image(image_files[name]), args.out)


COMMANDS: Commands = {
    "draw": declare_command("slq.synthetic.datasets:draw_split", "make a split of a synthetic dataset", "settings out"),
    "adopt": declare_command(
        "slq.datasets.local:import_local_split",
        "check a local split and write its prepared form",
        "set split kind columns same-image from out",
    ),
    "prepare": declare_command(
        "slq.datasets.prepare:prepare_split",
        "write the prepared form of a split of a fetched source",
        "settings from out",
    ),
    "gather": declare_command(
        "slq.datasets.queries:import_queries",
        "write the prepared form of queries that a person wrote for images of another dataset",
        "settings queries data out",
    ),
    "fetch": (
        fetch,
        "bring a source, whole and proved",
        {
            **flag_options("settings", "out", "locks"),
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
    "audit": declare_command(
        "slq.datasets.leak_audit:audit", "check that training and test sets are apart", "settings data work threads out"
    ),
    "instrument": declare_command(
        "slq.evaluation.reference_check:check_reference_recalls",
        "check data and scorer by the published recalls of public models",
        "settings encoders data golden out",
        "threads",
    ),
    "pretrain": declare_command(
        "slq.synthetic.backbones:pretrain_backbone",
        "train a mini backbone from scratch",
        "settings data out",
        "threads",
    ),
    "pretrain-encoder": declare_command(
        "slq.synthetic.encoders:pretrain_dual_encoder",
        "train a mini dual encoder from scratch",
        "settings data out",
        "threads",
    ),
    "store": declare_command(
        "slq.caching.build:build_feature_cache",
        "cache what does not change of the images that training reads",
        "settings backbone data train-dataset work out events code",
        "threads",
    ),
    "base": declare_command(
        "slq.training.run_record:register_base",
        "record the untouched backbone as a run",
        "settings backbone adapter run",
        "threads",
    ),
    "train": (
        train,
        "train a run",
        {
            **flag_options(
                "settings", "backbone", "adapter", "run", "threads", "seed", "data", "train-dataset", "work"
            ),
            **flag_options("events", "code", "processes", "minutes"),
            "--prefixes": {"type": Path, "nargs": "?"},
        },
    ),
    "select": (
        select,
        "try learning rates on the val split",
        flag_options("settings", "seed", "backbone", "data", "train-dataset", "work", "out", "threads"),
    ),
    "retrieve": declare_command(
        "slq.evaluation.retrieval:evaluate_retrieval",
        "evaluate a run on the retrieval datasets",
        "settings backbone adapter data out events",
        "threads",
    ),
    "retain": declare_command(
        "slq.evaluation.retention:evaluate_retention",
        "evaluate a run on the retention datasets",
        "settings code backbone adapter data work out events retained",
        "threads",
    ),
    "blind": (
        blind,
        "ask a run the questions of the retention datasets without their images",
        flag_options("settings", "code", "backbone", "adapter", "data", "work", "out", "events", "threads"),
    ),
    "prove": declare_command(
        "slq.evaluation.equivalence:check_equivalence",
        "check that a run answers the retention datasets as base does",
        "settings backbone adapter data base retained out events",
        "threads",
    ),
    "embed": declare_command(
        "slq.baselines.encode:evaluate_encoder_baseline",
        "measure a comparator, or an untrained read-out, on the retrieval datasets",
        "settings model data work out",
        "threads",
    ),
    "rerank": declare_command(
        "slq.baselines.rerank:evaluate_reranking",
        "let a backbone look again at the first candidates of a first stage's list",
        "settings backbone coarse by data work out",
        "threads",
    ),
    "pilot measure": declare_command(
        "slq.baselines.pilot:measure_pilot",
        "write how similar an untrained backbone finds texts and images, by read-out",
        "settings backbone data out",
        "threads",
    ),
    "pilot render": (render_pilot, "draw the pilot's figure", flag_options("settings", "results", "data", "out")),
    "score": (
        LazyCall("slq.evaluation.rescoring:rescore_folder", ("results", "write")),
        "score stored answers and count stored ranks again, and compare with what is stored",
        {
            "results": {"type": Path, "help": "a folder of results, e.g. results/mini"},
            "--write": {"action": "store_true", "help": "write what differs anew"},
        },
    ),
    "tables": declare_command(
        "slq.reporting.tables:render", "render the tables from results alone", "layout results reference templates out"
    ),
    "figures": declare_command(
        "slq.reporting.figures:draw_figures", "draw the figures from results alone", "layout results out"
    ),
    "queries": (
        queries,
        "draw what a few test captions find",
        flag_options("settings", "top", "results", "data", "out"),
    ),
    "claims": declare_command(
        "slq.claims.judge:judge_claims",
        "judge the claims of the paper on results alone",
        "settings results reference out",
    ),
    "paper-audit": declare_command(
        "slq.claims.paper_audit:audit_paper",
        "ask the paper's own tables of each other and of arithmetic",
        "settings reference out",
    ),
    "report": (
        LazyCall("slq.reporting.page.page:write_page", ("layout", "results", "audit", "figures", "templates", "out")),
        "write the page of a preset: does it reproduce?",
        {
            **flag_options("layout", "results", "audit", "templates", "out"),
            "--figures": {"type": Path, "nargs": "*", "default": [], "metavar": "SVG"},
        },
    ),
    **ACCOUNT,
    **COMPARE,
    **USE,
    "pdf": declare_command("slq.reporting.pdf:compile_pdf", "compile the tables with pdflatex", "tex pdf"),
}
TRAINING_COMMANDS = ("store", "select", "train")  # commands that wait for the checks


def require_checks_passed() -> None:
    """Check that every file that the workflow names in SLQ_CHECKS exists, before any work begins.

    Raises:
        SlqError: a file named in SLQ_CHECKS does not exist, so its check has not passed.
    """
    for check_file in filter(None, os.environ.get("SLQ_CHECKS", "").split(os.pathsep)):
        if not Path(check_file).is_file():
            raise SlqError(
                f"{check_file}: not there: this check has not passed, and nothing is trained before it has; "
                f"run `snakemake {check_file}`, with the options of this call, and see its message"
            )


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; return 0, or the exit status of the error after printing its message on standard error."""
    gc.set_threshold(200_000)  # collecting the many permanent objects of torch and transformers takes 1.5 s
    args = parse_arguments(COMMANDS, __doc__, argv)
    allow_network = args.function in (fetch, doctor)
    configure_libraries(getattr(args, "threads", None), getattr(args, "processes", 1), allow_network)
    try:
        if args.command in TRAINING_COMMANDS:
            require_checks_passed()
        args.function(args)
    except SlqError as error:
        print(f"slq: error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
