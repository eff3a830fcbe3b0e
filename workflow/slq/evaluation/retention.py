"""Evaluation of one run on all its retention datasets, from adapter to metrics files.

Generated answers are checkpointed, so that a killed job resumes after its last complete batch.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.events import EventLog, current_plan, describe_device
from slq.common.files import exclusive_lock, hash_file, hash_json, read_jsonl, write_json, write_jsonl
from slq.common.progress import Progress
from slq.datasets.splits import Split, read_split
from slq.evaluation.generation import GenerationParams, generate_answers, remove_images, require_known_image_limits
from slq.evaluation.retention_metrics import SCHEMA, questions_hash, require_disputed_items, score_answers
from slq.evaluation.retrieval import input_hashes, load_run
from slq.models.backbone import Backbone

LIBRARIES = ("torch", "transformers")  # libraries whose versions may change answers


class AnswerCheckpoint:
    """JSONL file of a dataset's finished answers, appended batch by batch; a context manager that locks the file.

    Batches are determined by the order of the items. An incomplete batch or a partial line is truncated and generated
    again, so that the answers do not depend on when a job was killed.
    """

    def __init__(self, path: Path, item_ids: Sequence[str], batch_size: int) -> None:
        """Set up a checkpoint without opening its file.

        Args:
            path: path of the JSONL file.
            item_ids: ids of all items, in order.
            batch_size: number of items per batch.
        """
        self.path, self.item_ids, self.batch_size = path, item_ids, batch_size
        self.answered_items: list[dict[str, Any]] = []

    def __enter__(self) -> "AnswerCheckpoint":
        """Lock the file and read the finished answers.

        Raises:
            SlqError: another process holds the lock, or the file's lines are not answers to the first items.
        """
        refusal = f"{self.path}: another process is adding answers to this file; wait for it, or stop it"
        with ExitStack() as exit_stack:
            exit_stack.enter_context(exclusive_lock(self.path.with_suffix(".owner"), refusal))
            self.file = exit_stack.enter_context(self.path.open("a+b"))
            self._truncate_to_complete_batches()
            self.exit_stack = exit_stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file and release the lock."""
        self.exit_stack.close()

    def append_batch(self, batch: Sequence[dict[str, Any]]) -> None:
        """Append a batch and flush it to disk."""
        try:
            self.file.write("".join(json.dumps(line, sort_keys=True) + "\n" for line in batch).encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise SlqError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.answered_items += batch

    def delete(self) -> None:
        """Delete the file; called after the answers are written to their declared output path."""
        self.path.unlink(missing_ok=True)

    def _truncate_to_complete_batches(self) -> None:
        """Truncate the file to its complete batches, read them, and check that they answer the first items."""
        self.file.seek(0)
        data = self.file.read()
        complete_lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        num_done = (
            len(complete_lines)
            if len(complete_lines) >= len(self.item_ids)
            else len(complete_lines) // self.batch_size * self.batch_size
        )
        self.file.truncate(sum(map(len, complete_lines[:num_done])))
        self.answered_items = read_jsonl(self.path)
        if len(self.answered_items) > len(self.item_ids):
            raise SlqError(
                f"{self.path}: contains {len(self.answered_items)} answers, but there are only {len(self.item_ids)} "
                "items; delete it"
            )
        for number, (line, expected) in enumerate(zip(self.answered_items, self.item_ids, strict=False), start=1):
            if line.get("id") != expected:
                raise SlqError(
                    f"{self.path}:{number}: answers item {line.get('id')!r}, expected {expected!r}; delete the file"
                )


def evaluate_retention(
    settings: dict[str, Any],
    code_fingerprint: str,
    backbone_folder: Path,
    adapter_folder: Path,
    data: Path,
    work: Path,
    out: Path,
    events_file: Path,
    answer_hashes_file: Path | None = None,
    with_images: bool = True,
) -> None:
    """Generate and score answers to the test split of every retention dataset.

    Args:
        code_fingerprint: fingerprint of the generation code; finished answers are reused only if it is unchanged.
        work: scratch folder of the answer checkpoints, whose names contain a hash of everything the answers depend on.
        answer_hashes_file: file for the hashes of the answers files, written last; an equivalence check needs it.
        with_images: if False, the evaluation is blind: questions are asked without their images.
    """
    events = EventLog.for_next_attempt(adapter_folder / "events" / events_file.name)
    with events.span("init"):
        backbone, _ = load_run(settings, backbone_folder, adapter_folder)
    with ExitStack() as exit_stack:
        checkpoints, hashes = [], {}
        for entry in settings["datasets"]:
            name, params = entry["name"], build_generation_params(settings, entry)
            require_known_image_limits(backbone, params.image_limits)
            split = read_split(data, name, "test")
            require_disputed_items(entry, split.items)
            inputs = retention_input_hashes(settings, entry, backbone_folder, adapter_folder, split)
            path = (
                work / "answers" / f"{name}.{answers_cache_key(settings, code_fingerprint, inputs, with_images)}.jsonl"
            )
            checkpoint = exit_stack.enter_context(
                AnswerCheckpoint(path, [item["id"] for item in split.items], params.batch_size)
            )
            with events.span("eval", dataset=name, reused=len(checkpoint.answered_items)):
                generate_remaining_answers(backbone, split if with_images else remove_images(split), params, checkpoint)
            write_retention_results(out, entry, checkpoint.answered_items, inputs, split.source_commits)
            checkpoints.append(checkpoint)
            hashes[name] = hash_file(out / f"{name}.answers.jsonl")
        if answer_hashes_file:
            write_json(answer_hashes_file, {"schema": SCHEMA, "answers": hashes})
        # Checkpoints are kept until all datasets are written, because Snakemake deletes the outputs of a killed job.
        for checkpoint in checkpoints:
            checkpoint.delete()
    events.publish(events_file)


def build_generation_params(settings: dict[str, Any], entry: dict[str, Any]) -> GenerationParams:
    """Build the generation parameters of a dataset from the settings and the dataset's entry in them."""
    return GenerationParams(settings["max_new_tokens"], settings["batch_size"], entry["images"])


def answers_cache_key(
    settings: dict[str, Any], code_fingerprint: str, inputs: dict[str, str], with_images: bool
) -> str:
    """Compute the key of finished answers, a hash of everything that they depend on.

    The key covers the run, the questions, the generation settings, the code, the versions of LIBRARIES, and the kind of
    device. It covers neither the number of devices nor the scorer.
    """
    device = describe_device()
    environment = {"device": [device["kind"], device["name"]], "versions": {name: version(name) for name in LIBRARIES}}
    run_identity = {
        "inputs": inputs,
        "family": settings["family"],
        "code": code_fingerprint,
        "with_images": with_images,
    }
    return hash_json(run_identity | environment)[:16]


def generate_remaining_answers(
    backbone: Backbone, split: Split, params: GenerationParams, checkpoint: AnswerCheckpoint
) -> None:
    """Generate the answers that a checkpoint does not contain yet, batch by batch."""
    num_done, items = len(checkpoint.answered_items), split.items
    with Progress(total=len(items), initial=num_done, desc=f"{split.name} questions") as bar:
        for batch in params.iter_batches(items, num_done):
            checkpoint.append_batch(generate_answers(backbone, split, batch, params))
            bar.update(len(batch))


def write_retention_results(
    out: Path,
    entry: dict[str, Any],
    answered_items: list[dict[str, Any]],
    inputs: dict[str, str],
    origin: Sequence[Mapping[str, str]] = (),
) -> None:
    """Write a dataset's answers, the items on which scorers disagree, and its metrics.

    Args:
        origin: sources that the dataset was downloaded from, if any.
    """
    metrics, disagreements = score_answers(
        entry["benchmark"], entry["scorer"], answered_items, entry.get("disputed", ())
    )
    answers_path = out / f"{entry['name']}.answers.jsonl"
    write_jsonl(answers_path, answered_items)
    write_jsonl(out / f"{entry['name']}.disagreements.jsonl", disagreements)
    metrics |= {"origin": list(origin)} if origin else {}
    hashes = inputs | {"questions": questions_hash(answered_items), "answers": hash_file(answers_path)}
    write_json(out / f"{entry['name']}.json", {"schema": SCHEMA, **metrics, "plan": current_plan(), "inputs": hashes})


def retention_input_hashes(
    settings: dict[str, Any], entry: dict[str, Any], backbone_folder: Path, adapter_folder: Path, split: Split
) -> dict[str, str]:
    """Hash the inputs that answers to a dataset depend on; among the dataset's settings, these are its image limits."""
    return input_hashes(settings | {"images": entry["images"]}, backbone_folder, adapter_folder, split)
