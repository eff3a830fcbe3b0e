"""A finished run, remembered in its folder of scratch: Snakemake removes declared outputs before a job's rerun."""

import sys
from pathlib import Path
from typing import Any

from slq.common.events import whole
from slq.common.files import digest, read_json, sha256, write_json, write_text
from slq.methods.registry import TENSORS

SCHEMA = 2


class Finished:
    """`finished.json` of a run: its small files, and the sha256 of its tensors, which stay in the adapter's folder.

    A full fine-tuning's are as large as the model: they are not kept twice.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], adapter: Path, run: Path, events: Path) -> None:
        """`identity`: JSON-like; a run that was finished under another one is not this.

        Args:
            adapter, run, events: where the run is declared: the folder of its adapter, in scratch, run.json and events.
        """
        self.path, self.identity = folder / "finished.json", digest(identity)
        self.adapter, self.run, self.events = adapter, run, events

    def keep(self, record: dict[str, Any], events: bytes) -> None:
        """Remember a run, whose adapter is saved, with what its run.json says and the events of all attempts."""
        kept = {"adapter": read_json(self.adapter / "adapter.json"), "tensors": sha256(self.adapter / TENSORS)}
        kept |= {"run": record, "events": whole(events).decode(errors="replace")}
        write_json(self.path, {"schema": SCHEMA, "identity": self.identity, **kept})

    def published_again(self) -> bool:
        """Write what is declared once more and say so, if this very run is finished; False if it must be trained."""
        if not self._found():
            return False
        self.publish()
        print(
            f"slq: this run is finished ({self.path}), and is not trained again; to train it anew, remove "
            f"{self.adapter}",
            file=sys.stderr,
            flush=True,
        )
        return True

    def publish(self) -> None:
        """Write what is declared, and lies beside tensors that are there already; the events last."""
        kept = read_json(self.path)
        write_json(self.adapter / "adapter.json", kept["adapter"])
        write_json(self.run, kept["run"])
        write_text(self.events, kept["events"])

    def _found(self) -> bool:
        """Whether this very run has been finished, and its tensors are still as it left them."""
        if not self.path.is_file():
            return False
        kept, tensors = read_json(self.path), self.adapter / TENSORS
        known = (kept.get("schema"), kept.get("identity")) == (SCHEMA, self.identity)
        return known and tensors.is_file() and sha256(tensors) == kept["tensors"]
