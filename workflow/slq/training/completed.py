"""Record of a finished run in scratch, from which the outputs are restored when Snakemake re-runs the job.

Snakemake removes the declared outputs of a job before it re-runs the job; without the record the run would be trained
again.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from slq.common.events import replace_invalid_lines
from slq.common.files import hash_file, hash_json, read_json, write_json, write_text
from slq.methods.adapter import ADAPTER_WEIGHTS

SCHEMA = 4
NAME_KEYS = ("preset", "method", "variant_of")  # what a preset calls a run; another may have finished it


class CompletedRun:
    """`finished.json` of a run: the content of its small output files, and the SHA-256 of its tensors.

    The tensors stay in the adapter's folder and are not stored twice, because those of full fine-tuning are as large as
    the model. If another preset has finished the same run, or the same preset under another name (as a trial of the
    learning-rate search), its tensors are hard-linked.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        settings: dict[str, Any],
        adapter_folder: Path,
        run_file: Path,
        events_file: Path,
    ) -> None:
        """Set the identity of a run and the paths of its outputs.

        Args:
            folder: scratch folder of the run, which contains finished.json.
            identity: JSON-like identity; a record with another identity belongs to another run.
            settings: settings of the run that is requested now, which has the names NAME_KEYS.
            adapter_folder, run_file, events_file: declared outputs of the run: the adapter's folder (in scratch),
                run.json and the event log.
        """
        self.path, self.identity = folder / "finished.json", hash_json(identity)
        self.names = {key: settings[key] for key in NAME_KEYS if key in settings}
        self.adapter_folder, self.run_file, self.events_file = adapter_folder, run_file, events_file

    def save(self, record: dict[str, Any], events: bytes) -> None:
        """Write finished.json; the adapter must already be saved.

        Args:
            record: content of run.json.
            events: the events of all attempts, one JSON object per line.
        """
        content = {
            "adapter": read_json(self.adapter_folder / "adapter.json"),
            "tensors": hash_file(self.adapter_folder / ADAPTER_WEIGHTS),
            "adapter_folder": str(self.adapter_folder.resolve()),
        }
        content |= {"run": record, "events": replace_invalid_lines(events).decode(errors="replace")}
        write_json(self.path, {"schema": SCHEMA, "identity": self.identity, **content})

    def restore_outputs(self) -> bool:
        """Write the declared outputs again if the same run is already finished, and report this on stderr.

        Returns:
            whether the run is finished; if not, it must be trained.
        """
        if not self._is_complete():
            return False
        self.write_outputs()
        print(
            f"slq: this run is already finished ({self.path}) and is not trained again; to train it again, remove "
            f"{self.adapter_folder}",
            file=sys.stderr,
            flush=True,
        )
        return True

    def write_outputs(self) -> None:
        """Write the declared outputs except the tensors, which already exist; the event log is written last."""
        content = read_json(self.path)
        write_json(self.adapter_folder / "adapter.json", self._renamed(content["adapter"], "method", "variant_of"))
        run = self._renamed(content["run"], "preset", "method")
        write_json(self.run_file, run | {"settings": self._renamed(run["settings"], *NAME_KEYS)})
        write_text(self.events_file, content["events"])

    def _renamed(self, content: dict[str, Any], *keys: str) -> dict[str, Any]:
        """Return the content with the names of the run that is requested now; `keys` are the names that it may have."""
        names = {key: self.names[key] for key in keys if key in self.names}
        return {key: value for key, value in content.items() if key not in NAME_KEYS} | names

    def _is_complete(self) -> bool:
        """Return whether the same run is finished and its tensors are unchanged, here or where they were saved."""
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
    """Make `target` a hard link to `source`, or a copy if the file system does not support hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copy2(source, temporary)
    os.replace(temporary, target)
