"""Fetching of a source in a separate process, as by the rule `fetch_source`, and checks of its outputs."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from asjob import parameter_file

WORKFLOW = Path(__file__).parents[1] / "workflow"
FAST = (
    "import slq.sources.download as d, sys; d.RETRIES = d.RETRIES.new(backoff_factor=0);"
    " from slq.jobs import main; sys.exit(main(sys.argv[1:]))"
)


def command(
    folder: Path, parts: list[dict[str, Any]], weights: bool = False, code: str = FAST, **settings: Any
) -> list[str]:
    settings |= {"name": "mine", "parts": parts, "weights": weights}
    paths = {"out": folder / "out", "locks": folder / "sources.lock"}
    file = parameter_file(folder / "params", "fetch_source", settings=settings, **paths)
    return [sys.executable, "-c", code, "fetch_source", str(file)]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment without the user's Hugging Face and slq variables: no token, cache or mirror."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "SLQ_"))}
    return mine | {"HF_HOME": str(folder / "hub"), "PYTHONPATH": str(WORKFLOW), "HF_HUB_DISABLE_XET": "1"} | more


def fetch(folder: Path, parts: list[dict[str, Any]], weights: bool = False, code: str = FAST, **more: str):
    """Run `fetch_source` once, and return the finished process; `more`: additional environment variables."""
    return subprocess.run(
        command(folder, parts, weights, code),
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        timeout=600,
    )


def refused(answer: subprocess.CompletedProcess[str], *words: str) -> None:
    """Assert that the process ended with one message that contains the words, and without a traceback."""
    assert answer.returncode == 1, answer.stderr
    message = answer.stderr.strip().splitlines()[-1]
    assert message.startswith("slq: error: ") and "Traceback" not in answer.stderr, answer.stderr
    for word in words:
        assert word in message, message


def files(folder: Path) -> dict[str, bytes]:
    """Read the files of the source's folder, without hidden files of the download."""
    out = folder / "out"
    paths = [path for path in out.rglob("*") if path.is_file()]
    names = {path: path.relative_to(out) for path in paths}
    return {str(name): path.read_bytes() for path, name in names.items() if not name.parts[0].startswith(".")}


def check_whole(folder: Path, expected: dict[str, bytes]) -> None:
    """Assert that the folder contains exactly these files, and a manifest with their hashes."""
    found = files(folder)
    manifest = json.loads(found.pop("manifest.json"))
    assert found == expected
    assert manifest["files"] == {name: hashlib.sha256(body).hexdigest() for name, body in expected.items()}


def check_absent(folder: Path) -> None:
    """Assert that there is no manifest, and that no partial file has its final name."""
    assert not (folder / "out" / "manifest.json").exists()
