"""Answers of one run to all its retention sets, from adapter to metrics files; what is answered outlasts a kill."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slq.common.errors import SlqError
from slq.common.events import Events, describe_device
from slq.common.files import alone, digest, read_lines, sha256, write_json, write_lines
from slq.datasets.prepared import Split, read_split
from slq.evaluation.generation import Asking, answer_batch, blind, require_limits
from slq.evaluation.retention_metrics import SCHEMA, questions_hash, require_disputed, score_answers
from slq.evaluation.retrieval import input_hashes, load_run
from slq.models.backbone import Backbone, pick_device

LIBRARIES = ("torch", "transformers")  # whose version may change an answer


class AnswersSoFar:
    """The finished batches of a set's answers, appended to a JSONL file that one process owns while it is entered.

    Batches are fixed by the order of the items. A batch that is not there as a whole, or a line that was torn, is cut
    off and made again, so that what is answered in the end never depends on where a job was killed.
    """

    def __init__(self, path: Path, ids: Sequence[str], batch_size: int) -> None:
        """`ids`: of all items, in order."""
        self.path, self.ids, self.batch_size = path, ids, batch_size
        self.lines: list[dict[str, Any]] = []

    def __enter__(self) -> "AnswersSoFar":
        """Own the file and read what is done.

        Raises:
            SlqError: another process owns it, or it holds something else than answers to the first items.
        """
        refusal = f"{self.path}: another process is adding answers to this file; wait for it, or stop it"
        with ExitStack() as held:
            held.enter_context(alone(self.path.with_suffix(".owner"), refusal))
            self.file = held.enter_context(self.path.open("a+b"))
            self._keep_whole_batches()
            self.held = held.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Append a batch and see it on the disk.

        Raises:
            SlqError: it cannot be written, e.g. because the disk is full.
        """
        try:
            self.file.write("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise SlqError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.lines += lines

    def discard(self) -> None:
        """Remove the file, once the answers are where they are declared."""
        self.path.unlink(missing_ok=True)

    def _keep_whole_batches(self) -> None:
        self.file.seek(0)
        data = self.file.read()
        whole = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        done = len(whole) if len(whole) >= len(self.ids) else len(whole) // self.batch_size * self.batch_size
        self.file.truncate(sum(map(len, whole[:done])))
        self.lines = read_lines(self.path)
        if len(self.lines) > len(self.ids):
            raise SlqError(f"{self.path}: holds {len(self.lines)} answers to {len(self.ids)} items; delete it")
        for number, (line, expected) in enumerate(zip(self.lines, self.ids, strict=False), start=1):
            if line.get("id") != expected:
                raise SlqError(
                    f"{self.path}:{number}: answers item {line.get('id')!r} where {expected!r} comes; delete the file"
                )


def retain(
    settings: dict[str, Any],
    code: str,
    backbone_folder: Path,
    adapter: Path,
    data: Path,
    work: Path,
    out: Path,
    events_file: Path,
    retained: Path | None = None,
    with_images: bool = True,
) -> None:
    """Answers and scores of the test split of every retention set; without images the run is asked blind.

    Args:
        code: identity of the code that generates, of which finished answers are kept
        work: scratch folder where finished answers outlast a kill, keyed by all that defines them
        retained: written last, the hashes of the answers files: what a proof needs to know of them
    """
    events = Events.gathered(adapter / "events" / events_file.name, device=describe_device(pick_device()))
    with events.span("init"):
        backbone, _ = load_run(settings, backbone_folder, adapter)
    with ExitStack() as owned:
        finished, hashes = [], {}
        for entry in settings["sets"]:
            name, how = entry["name"], asking(settings, entry)
            require_limits(backbone, how.limits)
            split = read_split(data, name, "test")
            require_disputed(entry, split.items)
            inputs = retention_inputs(settings, entry, backbone_folder, adapter, split)
            path = work / "answers" / f"{name}.{answers_key(settings, code, inputs, with_images)}.jsonl"
            so_far = owned.enter_context(AnswersSoFar(path, [item["id"] for item in split.items], how.batch_size))
            with events.span("eval", set=name, reused=len(so_far.lines)):
                answer_rest(backbone, split if with_images else blind(split), how, so_far)
            write_scored(out, entry, so_far.lines, inputs, split.origin)
            finished.append(so_far)
            hashes[name] = sha256(out / f"{name}.answers.jsonl")
        if retained:
            write_json(retained, {"schema": SCHEMA, "answers": hashes})
        # Not before all sets are written: Snakemake deletes the outputs of a job that was killed.
        for so_far in finished:
            so_far.discard()
    events.publish(events_file)


def asking(settings: dict[str, Any], entry: dict[str, Any]) -> Asking:
    """How the questions of a set are asked."""
    return Asking(settings["max_new_tokens"], settings["batch_size"], entry["images"])


def answers_key(settings: dict[str, Any], code: str, inputs: dict[str, str], with_images: bool) -> str:
    """What answers depend on: the run, the questions, how they are asked, the code, the libraries and the device.

    Not the number of devices. Not the scorer either: `inputs` has none.
    """
    device = describe_device(pick_device())
    machine = {"device": [device["kind"], device["name"]], "versions": {name: version(name) for name in LIBRARIES}}
    what = {"inputs": inputs, "family": settings["family"], "code": code, "with_images": with_images}
    return digest(what | machine)[:16]


def answer_rest(backbone: Backbone, split: Split, how: Asking, so_far: AnswersSoFar) -> None:
    """Answer the batches that are not there yet."""
    done, items = len(so_far.lines), split.items
    with tqdm(total=len(items), initial=done, desc=f"{split.name} questions", disable=None, file=sys.stderr) as bar:
        for batch in how.batches(items, done):
            so_far.add(answer_batch(backbone, split, batch, how))
            bar.update(len(batch))


def write_scored(
    out: Path,
    entry: dict[str, Any],
    answered: list[dict[str, Any]],
    inputs: dict[str, str],
    origin: Sequence[Mapping[str, str]] = (),
) -> None:
    """A set's answers, the items on which scorers differ, and its metrics.

    Args:
        origin: where the set was fetched from, if it was
    """
    content, differing = score_answers(entry["benchmark"], entry["scorer"], answered, entry.get("disputed", ()))
    answers = out / f"{entry['name']}.answers.jsonl"
    write_lines(answers, answered)
    write_lines(out / f"{entry['name']}.disagreements.jsonl", differing)
    content |= {"origin": list(origin)} if origin else {}
    hashes = inputs | {"questions": questions_hash(answered), "answers": sha256(answers)}
    write_json(out / f"{entry['name']}.json", {"schema": SCHEMA, **content, "inputs": hashes})


def retention_inputs(
    settings: dict[str, Any], entry: dict[str, Any], backbone_folder: Path, adapter: Path, split: Split
) -> dict[str, str]:
    """What the answers to a set were computed from; of the settings of sets only how this one's images are cut."""
    return input_hashes(settings | {"images": entry["images"]}, backbone_folder, adapter, split)
