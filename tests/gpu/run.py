"""The GPU check: are the paper's shapes computed correctly on this GPU, how fast, and in how much memory?

    python tests/gpu/run.py                    # needs one GPU, no weights, data or network; at most 8 minutes
    python tests/gpu/run.py --cpu              # the same stages with the mini backbones, to try the check itself

It runs with the project's pinned packages and with others: torch 2.11 and transformers 5.17 suffice, and jsonschema may
be missing. Each finished stage is stored in FOLDER/stages.json at once; the same call continues with the others. The
page docs/gpu.md is written from these results alone.
"""

import argparse
import gc
import hashlib
import platform
import sys
import time
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow"), str(Path(__file__).parent)]
import compat  # noqa: E402, F401  (before slq)
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from page import format_page  # noqa: E402
from stages import PAPER, SMALL, Stage, list_stages  # noqa: E402

from slq.common.errors import SlqError  # noqa: E402
from slq.common.events import describe_device  # noqa: E402
from slq.common.files import read_json, write_json, write_text  # noqa: E402

UNFINISHED = 75  # exit status: call it again
PAGE = ROOT / "docs" / "gpu.md"


def describe_circumstances() -> dict[str, Any]:
    """Return what results depend on; stored results of other circumstances are not continued."""
    sources = sorted(
        [*(ROOT / "workflow/slq").rglob("*.py"), *Path(__file__).parent.glob("*.py"), ROOT / "config.yaml"]
    )
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    versions |= {"transformers": transformers.__version__, "peft": peft.__version__}
    gpu = {}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu = {"cuda": torch.version.cuda, "memory_gb": round(properties.total_memory / 1e9, 1)}
        gpu["num_gpus"] = torch.cuda.device_count()
    return {"device": describe_device(), "versions": versions, "code": code, **gpu}


def run_stage(stage: Stage) -> dict[str, Any]:
    """Run one stage; return its result, or what failed."""
    start = time.perf_counter()
    try:
        outcome: dict[str, Any] = {"passed": True, "result": stage.work()}
    except Exception as error:  # one stage's error must not cost the results of the others
        where = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        outcome = {"passed": False, "error": " ".join(message.split())[:2000]}
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return outcome | {"seconds": round(time.perf_counter() - start, 1), "date": time.strftime("%Y-%m-%d")}


def run_stages(stages: list[Stage], path: Path, minutes: float) -> dict[str, Any]:
    """Run the stages that have no result yet, until time is up; return all results, with their circumstances."""
    start, circumstances = time.monotonic(), describe_circumstances()
    stored = read_json(path) if path.is_file() else {}
    if stored.get("circumstances") != circumstances:
        stored = {"circumstances": circumstances, "stages": {}}
    for stage in stages:
        if stored["stages"].get(stage.name, {}).get("passed"):
            print(f"{stage.name}: passed before")
            continue
        if (time.monotonic() - start + stage.seconds) / 60 > minutes and minutes > 0:
            print(f"{stage.name}: no time left for its {stage.seconds} s")
            continue
        outcome = stored["stages"][stage.name] = run_stage(stage)
        write_json(path, stored)
        said = "passed" if outcome["passed"] else f"FAILED {outcome['error']}"
        print(f"{stage.name}: {said} ({outcome['seconds']} s)", flush=True)
    return stored


def main(argv: list[str] | None = None) -> int:
    """Run the check; return 0, 1 after a failure, or 75 if stages are left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="Try the stages with the mini backbones, on this device.")
    parser.add_argument("--folder", type=Path, default=ROOT / "scratch/gpu", help="Folder for stages.json.")
    parser.add_argument("--page", type=Path, help="Page to write. Default: docs/gpu.md; with --cpu FOLDER/gpu.md.")
    parser.add_argument("--minutes", type=float, default=8.0, help="No stage begins that would end later. Default: 8.")
    parser.add_argument("--only", default="", help="Only stages whose name begins with this.")
    args = parser.parse_args(argv)
    if not args.cpu and not torch.cuda.is_available():
        print(
            f"test-gpu: torch {torch.__version__} sees no GPU here; nothing was run, and {PAGE.relative_to(ROOT)} is "
            "not written: call it on a machine with a GPU, or try the stages with --cpu",
            file=sys.stderr,
        )
        return 1
    page = args.page or (args.folder / "gpu.md" if args.cpu else PAGE)
    if args.cpu and page.resolve() == PAGE:
        print(f"test-gpu: --cpu does not write {page}: the page is of a GPU", file=sys.stderr)
        return 1
    stages = [stage for stage in list_stages(SMALL if args.cpu else PAPER) if stage.name.startswith(args.only)]
    try:
        results = run_stages(stages, args.folder / ("stages-cpu.json" if args.cpu else "stages.json"), args.minutes)
        write_text(page, format_page(results, [stage.name for stage in stages], "mini" if args.cpu else "paper"))
    except SlqError as error:
        print(f"test-gpu: {error}", file=sys.stderr)
        return 1
    outcomes = [results["stages"].get(stage.name) for stage in stages]
    passed, failed = (sum(one is not None and one["passed"] is value for one in outcomes) for value in (True, False))
    print(f"{page}\n{passed} passed, {failed} failed, {outcomes.count(None)} not run")
    return 1 if failed else UNFINISHED if None in outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
