"""Record of a finished run in its scratch folder, since Snakemake removes declared outputs before it reruns a job."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from slq.common.events import replace_invalid_lines
from slq.common.files import hash_file, hash_json, read_json, write_json, write_text
from slq.methods.adapter import ADAPTER_WEIGHTS

SCHEMA = 4


class CompletedRun:
    """`finished.json` of a run: its small files, and the sha256 of its tensors, which stay in the adapter's folder.

    The tensors are not stored twice, those of full fine-tuning are as large as the model: a run that another preset
    has finished gets a link to them.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        preset: str,
        adapter_folder: Path,
        run_file: Path,
        events_file: Path,
    ) -> None:
        """Set the identity of a run, and the paths of its outputs.

        Args:
            folder: scratch folder of the run, which holds finished.json.
            identity: JSON-like; a run that was finished under another identity is another run.
            preset: the preset that asks for it.
            adapter_folder, run_file, events_file: declared outputs of the run: the folder of its adapter, in scratch,
                run.json and events.
        """
        self.path, self.identity, self.preset = folder / "finished.json", hash_json(identity), preset
        self.adapter_folder, self.run_file, self.events_file = adapter_folder, run_file, events_file

    def save(self, record: dict[str, Any], events: bytes) -> None:
        """Record a run whose adapter is saved.

        Args:
            record: content of its run.json.
            events: the events of all attempts, as lines of JSON.
        """
        content = {
            "adapter": read_json(self.adapter_folder / "adapter.json"),
            "tensors": hash_file(self.adapter_folder / ADAPTER_WEIGHTS),
            "adapter_folder": str(self.adapter_folder.resolve()),
        }
        content |= {"run": record, "events": replace_invalid_lines(events).decode(errors="replace")}
        write_json(self.path, {"schema": SCHEMA, "identity": self.identity, **content})

    def restore_outputs(self) -> bool:
        """Write the declared outputs again if this very run is finished, and report it on stderr.

        Returns:
            whether it is finished; if not, it must be trained.
        """
        if not self._is_complete():
            return False
        self.write_outputs()
        print(
            f"slq: this run is finished ({self.path}), and is not trained again; to train it anew, remove "
            f"{self.adapter_folder}",
            file=sys.stderr,
            flush=True,
        )
        return True

    def write_outputs(self) -> None:
        """Write the declared outputs beside the tensors, which are already there; the events are written last."""
        content = read_json(self.path)
        write_json(self.adapter_folder / "adapter.json", content["adapter"])
        run = content["run"]
        write_json(self.run_file, run | {"preset": self.preset, "settings": run["settings"] | {"preset": self.preset}})
        write_text(self.events_file, content["events"])

    def _is_complete(self) -> bool:
        """Return whether this very run was finished and its tensors are unchanged, here or where they were saved."""
        if not self.path.is_file():
            return False
        content, tensors = read_json(self.path), self.adapter_folder / ADAPTER_WEIGHTS
        if (content.get("schema"), content.get("identity")) != (SCHEMA, self.identity):
            return False
        saved = Path(content["adapter_folder"]) / ADAPTER_WEIGHTS
        for path in (tensors, saved):
            if path.is_file() and hash_file(path) == content["tensors"]:
                if path != tensors:
                    link_or_copy(path, tensors)
                return True
        return False


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy of it where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)
