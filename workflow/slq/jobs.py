"""The jobs of the workflow: `python -m slq.jobs JOB FILE`, as the rules call them.

JOB is the name of the rule, FILE its parameters (slq/common/parameters.py). What people type is `slq` (slq/cli.py).
"""

import argparse
import gc
import getpass
import inspect
import math
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError, configure_terminal, run_reporting_errors
from slq.common.files import write_text
from slq.common.fingerprint import fingerprint
from slq.common.parameters import read_parameters, write_finished

# By rule, the function that does the work. A job that needs functions of several rooms is a function of this module.
JOBS = {
    "make_synthetic_split": "slq.synthetic.datasets:draw_split",
    "import_local_split": "slq.datasets.local:import_local_split",
    "prepare_split": "slq.datasets.prepare:prepare_split",
    "import_queries": "slq.datasets.queries:import_queries",
    "fetch_source": "slq.sources.fetch:fetch_source",
    "audit": "slq.datasets.leak_audit:audit",
    "check_reference_recalls": "slq.evaluation.reference_check:check_reference_recalls",
    "pretrain_backbone": "slq.jobs:pretrain_backbone",
    "pretrain_encoder": "slq.jobs:pretrain_encoder",
    "cache_features": "slq.caching.build:build_feature_cache",
    "register_base": "slq.training.run_record:register_base",
    "train": "slq.jobs:train",
    "sweep_learning_rates": "slq.jobs:sweep_learning_rates",
    "evaluate_retrieval": "slq.evaluation.retrieval:evaluate_retrieval",
    "evaluate_retention": "slq.evaluation.retention:evaluate_retention",
    "evaluate_blind": "slq.evaluation.retention:evaluate_retention",
    "check_equivalence": "slq.evaluation.equivalence:check_equivalence",
    "evaluate_baseline": "slq.baselines.evaluate:evaluate_baseline",
    "measure_pilot": "slq.baselines.pilot:measure_pilot",
    "render_pilot": "slq.jobs:render_pilot",
    "count_gpu_hours": "slq.cost.ledger:write_ledger",
    "forecast": "slq.cost.forecast_table:print_forecast",
    "render_tables": "slq.reporting.tables:render",
    "compile_pdf": "slq.reporting.pdf:compile_pdf",
    "draw_figures": "slq.reporting.figures:draw_figures",
    "draw_queries": "slq.jobs:draw_queries",
    "judge_claims": "slq.claims.judge:judge_claims",
    "paper_audit": "slq.claims.paper_audit:audit_paper",
    "compare_paper": "slq.reporting.comparison.output:write_comparison",
    "write_page": "slq.reporting.page.page:write_page",
}

# What generates answers: finished answers of other code are not continued.
GENERATION_ENTRIES = ("slq.evaluation.generation", "slq.methods.adapter")


def pretrain_backbone(settings: dict[str, Any], data: Path, shipped: Path | None, out: Path) -> None:
    """Make the snapshot of a pre-trained backbone; torch is imported only if it is trained here."""
    from slq.synthetic.shipped import make_snapshot

    def train_from_scratch() -> None:
        from slq.synthetic.backbones import train_backbone

        train_backbone(settings, data, out)

    make_snapshot(settings["backbone"], settings, data, shipped, out, train_from_scratch)


def pretrain_encoder(settings: dict[str, Any], data: Path, shipped: Path | None, out: Path) -> None:
    """Make the snapshot of a pre-trained dual encoder, as `pretrain_backbone` does of a backbone."""
    from slq.synthetic.shipped import make_snapshot

    def train_from_scratch() -> None:
        from slq.synthetic.encoders import train_encoder

        train_encoder(settings, data, out)

    make_snapshot(settings["encoder"], settings, data, shipped, out, train_from_scratch)


def train(
    settings: dict[str, Any], code_fingerprint: str, num_processes: int, time_limit_minutes: float, **arguments: Any
) -> None:
    """Train a run in this process, or start several processes that train it together and each call this."""
    from slq.evaluation.validation import build_recall_validator
    from slq.training.distributed import launch_distributed
    from slq.training.run import run_training

    if not launch_distributed(num_processes, sys.argv[1:]):
        validate = build_recall_validator(settings)
        limits: dict[str, Any] = {"code_fingerprint": code_fingerprint, "time_limit_minutes": time_limit_minutes}
        run_training(settings, validate=validate, **limits, **arguments)


def sweep_learning_rates(settings: dict[str, Any], **arguments: Any) -> None:
    """Try learning rates of a run on the validation split."""
    from slq.evaluation.validation import build_recall_validator
    from slq.training.lr_sweep import sweep_learning_rates as sweep

    sweep(settings, validate=build_recall_validator(settings), **arguments)


def draw_queries(settings: dict[str, Any], top: Path, results: Path, data: Path, out: Path) -> None:
    """Draw the figure of a few test captions and the images retrieved for them."""
    from slq.datasets.splits import read_split
    from slq.reporting.queries import draw_queries as draw

    split = read_split(data, settings["dataset"], "test")
    image_files = {item["id"]: item["image"] for item in split.items}
    draw(settings, top, results, lambda image: split.open(image_files[image]), out)


def render_pilot(settings: dict[str, Any], results: Path, data: Path, out: Path) -> None:
    """Draw the figure of the pilot."""
    from slq.datasets.pilot_images import find_pilot_images, open_pilot_image
    from slq.reporting.pilot import render_pilot as render

    image_files = find_pilot_images(settings, data)
    render(settings, results, lambda name: open_pilot_image(image_files[name]), out)


def run_job(job: str, parameters: dict[str, Any], **resources: Any) -> None:
    """Call the function of a job with its parameters.

    Args:
        job: the name of the rule.
        parameters: the content of its parameter file.
        resources: what the machine gives: `num_threads`, `num_processes`, `time_limit_minutes`. Like the fingerprint of
            the code, they are passed to a function that has such a parameter.

    Raises:
        SlqError: a check that must have passed before has not.
    """
    require_checks_passed(parameters.get("required", []))
    function = pkgutil.resolve_name(JOBS[job])
    names = inspect.signature(function).parameters
    resources["code_fingerprint"] = current_code(job, parameters, "generation_code" in parameters)
    arguments = {name: _as_path(value) for name, value in parameters.get("paths", {}).items()}
    arguments |= parameters.get("values", {}) | {key: value for key, value in resources.items() if key in names}
    if "settings" in parameters:
        arguments["settings"] = parameters["settings"]
    function(**arguments)


def current_code(job: str, parameters: dict[str, Any], of_generation: bool = False) -> str:
    """Compute the fingerprint of the code that a job runs with, or of the code that generates answers in it.

    It differs from the parameters' own where code is pinned (config.yaml).
    """
    entries = GENERATION_ENTRIES if of_generation else (JOBS[job],)
    return fingerprint(*entries, **parameters.get("members", {}))


def _as_path(value: Any) -> Any:
    """Convert a path from JSON, or each of a list or mapping of paths; None stays None."""
    if isinstance(value, list):
        return [Path(one) for one in value]
    if isinstance(value, dict):
        return {name: Path(one) for name, one in value.items()}
    return None if value is None else Path(value)


def require_checks_passed(files: Sequence[str]) -> None:
    """Check that the file of each check exists, before any work begins.

    Raises:
        SlqError: a file does not exist, so its check has not passed.
    """
    for check_file in files:
        if not Path(check_file).is_file():
            raise SlqError(
                f"{check_file}: not there: this check has not passed, and nothing is trained before it has; "
                f"run `snakemake {check_file}`, with the options of this call, and see its message"
            )


def ensure_user_name() -> None:
    """Give a user id without a name, as in a container, its number as name, which libraries ask for."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError: from Python 3.13
        os.environ["USER"] = str(os.getuid())


def configure_libraries(num_threads: int | None = None, num_processes: int = 1, allow_network: bool = False) -> None:
    """Set the environment variables that torch and transformers read when they are imported.

    Args:
        num_threads: CPU threads of all processes together; None leaves the default.
        num_processes: number of processes.
        allow_network: whether libraries may use the network, as fetching does, and what checks what fetching will find.
    """
    ensure_user_name()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not allow_network:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ["HF_HUB_OFFLINE"] = "1"
    if num_threads is not None:
        threads_per_process = str(max(num_threads // max(num_processes, 1), 1))
        os.environ.update(OMP_NUM_THREADS=threads_per_process, MKL_NUM_THREADS=threads_per_process)


def write_loaded_modules(path: Path) -> None:
    """Write which modules of the package the job has loaded, a name a line: its fingerprint must know them all."""
    write_text(path, "".join(f"{name}\n" for name in sorted(sys.modules) if f"{name}.".startswith("slq.")))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one job; return 0, or the exit status of the error after printing its message on standard error."""
    gc.set_threshold(200_000)  # collecting the many permanent objects of torch and transformers takes 1.5 s
    configure_terminal()
    parser = argparse.ArgumentParser(prog="python -m slq.jobs", description=__doc__)
    parser.add_argument("job", choices=JOBS, metavar="JOB", help="the name of a rule")
    parser.add_argument("file", type=Path, metavar="FILE", help="its parameters, scratch/params/<sha256>.json")
    parser.add_argument("--threads", type=int, help="CPU threads of all processes together")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together, one for each GPU")
    parser.add_argument("--minutes", type=float, default=math.inf, help="time limit of the job on a cluster")
    args = parser.parse_args(argv)
    configure_libraries(args.threads, args.processes, allow_network=args.job == "fetch_source")
    resources = {"num_threads": args.threads, "num_processes": args.processes, "time_limit_minutes": args.minutes}

    def work() -> None:
        parameters = read_parameters(args.file, args.job)
        code = current_code(args.job, parameters)  # before the run, in which somebody may edit it
        run_job(args.job, parameters, **resources)
        write_finished(args.file, parameters, code)
        write_loaded_modules(args.file.with_suffix(".modules"))

    return run_reporting_errors(work)


if __name__ == "__main__":
    sys.exit(main())
