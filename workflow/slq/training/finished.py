"""A finished run, remembered in its folder of scratch: Snakemake removes declared outputs before a job's rerun."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.events import odd, whole
from slq.files import digest, read_json, sha256, write_bytes, write_json
from slq.models.methods import TENSORS

SCHEMA = 1
STORED = "prefixes"  # the one kind of span that is of another job's events


@dataclass(frozen=True)
class Outputs:
    """Where a run is declared: the folder of its adapter, in scratch, run.json and events."""

    adapter: Path
    run: Path
    events: Path


class Finished:
    """`finished.json` of a run: its small files, and the sha256 of its tensors, which stay in the adapter's folder.

    A full fine-tuning's are as large as the model: they are not kept twice.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], outputs: Outputs) -> None:
        """`identity`: JSON-like; a run that was finished under another one is not this."""
        self.path, self.events = folder / "finished.json", folder / "events.jsonl"
        self.identity, self.outputs = digest(identity), outputs

    def keep(self, record: dict[str, Any]) -> None:
        """Remember a run, whose adapter is saved and whose events are written, with what its run.json says."""
        adapter = self.outputs.adapter
        kept = {"adapter": read_json(adapter / "adapter.json"), "tensors": sha256(adapter / TENSORS), "run": record}
        write_json(self.path, {"schema": SCHEMA, "identity": self.identity, **kept})

    def published_again(self) -> bool:
        """Write what is declared once more and say so, if this very run is finished; False if it must be trained."""
        if not self._found():
            return False
        try:
            events = self.events.read_bytes()
        except OSError as error:
            events = self._told_by_record(error.strerror or "")
        self.publish(events)
        print(
            f"slq: this run is finished ({self.path}), and is not trained again; to train it anew, remove "
            f"{self.outputs.adapter}",
            file=sys.stderr,
            flush=True,
        )
        return True

    def publish(self, events: bytes) -> None:
        """Write what is declared, and lies beside tensors that are there already; the events of all attempts last."""
        kept = read_json(self.path)
        write_json(self.outputs.adapter / "adapter.json", kept["adapter"])
        write_json(self.outputs.run, kept["run"])
        write_bytes(self.outputs.events, whole(events))

    def _told_by_record(self, why: str) -> bytes:
        """Events in place of lost ones: the spans that run.json tells of, one of each kind."""
        run = read_json(self.path)["run"]
        name = {part: run[part] for part in ("preset", "backbone", "method", "seed", "device")}
        lines, end = [odd(f"{self.events.name} cannot be read ({why}): hours are those of run.json, attempts one")], 0.0
        for kind, seconds in run["spans"].items():
            if kind != STORED:
                end += seconds
                span = {"event": "span", "name": kind, "attempt": 1, "start": end - seconds, "seconds": seconds}
                lines.append(json.dumps(span | name | {"time": end}, sort_keys=True).encode())
        return b"\n".join(lines) + b"\n"

    def _found(self) -> bool:
        """Whether this very run has been finished, and its tensors are still as it left them."""
        if not self.path.is_file():
            return False
        kept, tensors = read_json(self.path), self.outputs.adapter / TENSORS
        known = (kept.get("schema"), kept.get("identity")) == (SCHEMA, self.identity)
        return known and tensors.is_file() and sha256(tensors) == kept["tensors"]
