"""Equivalence check: a run answers exactly as the untouched backbone, so that it may inherit base's answers.

The check has three conditions:
- The hash of the backbone's weights is the same before training, after training, now, and with the adapter loaded.
- The backbone gives the same replies, token by token, to the first items of every dataset with and without the adapter.
- These replies equal the replies stored for base.

Between the two sets of replies, the retriever embeds texts and images with its queries. Any state that embedding leaves
in the model would thus change the second set.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slq.common.errors import SlqError
from slq.common.events import EventLog, current_plan
from slq.common.files import hash_file, read_json, write_json
from slq.common.progress import Progress
from slq.common.snapshots import snapshot_sha256
from slq.datasets.splits import Split, read_split
from slq.evaluation.encode import embed_messages
from slq.evaluation.generation import (
    GenerationParams,
    Items,
    decode_answers,
    generate_reply_ids,
    require_known_image_limits,
)
from slq.evaluation.metrics_files import ScoredAnswers, read_scored_answers
from slq.evaluation.retention import build_generation_params, retention_input_hashes
from slq.evaluation.retention_metrics import SCHEMA
from slq.methods.adapter import load_retriever
from slq.models.backbone import Backbone, hash_weights, pick_device
from slq.models.prefix import tokenize_message


@dataclass(frozen=True)
class EquivalenceSample:
    """The first batches of a dataset, with their generation parameters and base's stored answers.

    Attributes:
        name: name of the dataset.
        split: the dataset's test split.
        items: the items that are answered again, in whole batches.
        params: generation parameters of the items.
        base_answers: base's stored answers to the whole dataset.
        inputs: hashes of the inputs by name, for the check record.
    """

    name: str
    split: Split
    items: Items
    params: GenerationParams
    base_answers: ScoredAnswers
    inputs: dict[str, str]

    def generate_replies(self, backbone: Backbone) -> tuple[list[str], list[list[int]]]:
        """Generate replies in the same batches as base, and return the prompts and the replies' token ids."""
        batches = Progress(list(self.params.iter_batches(self.items)), desc=f"{self.name} equivalence check")
        found = [generate_reply_ids(backbone, self.split, batch, self.params) for batch in batches]
        return [prompt for prompts, _ in found for prompt in prompts], [ids for _, replies in found for ids in replies]


def check_equivalence(
    settings: dict[str, Any],
    backbone_folder: Path,
    adapter_folder: Path,
    data: Path,
    base_folder: Path,
    answer_hashes_file: Path,
    out: Path,
    events_file: Path,
) -> None:
    """Check that a run answers as base does; for every retention dataset, record that it inherits base's metrics.

    Nothing is written if a weight, a token or a stored reply differs, or if base's answers have other inputs.

    Args:
        base_folder: folder of base's answers and metrics.
        answer_hashes_file: hashes of base's answers files, recorded by the job that generated the answers.
    """
    events = EventLog.for_next_attempt(adapter_folder / "events" / events_file.name)
    retention_settings, num_items = settings["retention"], settings["equivalence_items"]
    with events.span("init"):
        backbone = Backbone.load(
            backbone_folder, retention_settings["family"], retention_settings["dtype"], pick_device()
        )
        paths = (backbone_folder, adapter_folder, data, base_folder, answer_hashes_file)
        samples = [
            build_sample(retention_settings, entry, num_items, *paths) for entry in retention_settings["datasets"]
        ]
        weights_hash = read_recorded_weights_hash(adapter_folder / "adapter.json")
        require_weights_hash(backbone, weights_hash, f"{backbone_folder}: the backbone")
    base_replies = {}
    for sample in samples:
        require_known_image_limits(backbone, sample.params.image_limits)
        with events.span("eval", dataset=sample.name, adapter=False):
            base_replies[sample.name] = sample.generate_replies(backbone)
    with events.span("init"):
        retriever = load_retriever(backbone, adapter_folder, snapshot_sha256(backbone_folder))
        require_weights_hash(backbone, weights_hash, f"{adapter_folder}: the backbone with this adapter loaded")
    check_records = {}
    for sample in samples:
        with events.span("eval", dataset=sample.name, adapter=True):
            num_embedded = embed_sample(retriever, backbone, sample)
            prompts, replies = sample.generate_replies(backbone)
        require_same_replies(backbone, sample, base_replies[sample.name][1], replies)
        require_stored_replies(sample, decode_answers(backbone, sample.items, prompts, replies))
        tokens = sum(map(len, replies))
        check_records[sample.name] = {
            "weights": weights_hash,
            "items": len(replies),
            "tokens": tokens,
            "embedded": num_embedded,
        }
    require_weights_hash(backbone, weights_hash, f"{adapter_folder}: the backbone after embedding and answering")
    for sample in samples:
        write_check_record(out, sample, base_folder, check_records[sample.name])
    events.publish(events_file)


def build_sample(
    retention_settings: dict[str, Any],
    entry: dict[str, Any],
    num_items: int,
    backbone_folder: Path,
    adapter_folder: Path,
    data: Path,
    base_folder: Path,
    answer_hashes_file: Path,
) -> EquivalenceSample:
    """Build the sample of a dataset: its first `num_items` items, rounded up to whole batches, and base's answers.

    Raises:
        SlqError: base's answers were changed after its job wrote them, or have other inputs than this run.
    """
    name, params = entry["name"], build_generation_params(retention_settings, entry)
    split = read_split(data, name, "test")
    items = split.items[: -(-num_items // params.batch_size) * params.batch_size]
    answers = read_scored_answers(base_folder / f"{name}.json")
    inputs = retention_input_hashes(retention_settings, entry, backbone_folder, adapter_folder, split)
    for key in ("backbone", "dataset", "settings"):
        if answers.metrics["inputs"].get(key) != inputs[key]:
            raise SlqError(
                f"{answers.path}: generated with another {key} than this run's (inputs.{key}); generate base's answers "
                "again"
            )
    answers_hash = hash_file(answers.path)
    if read_json(answer_hashes_file)["answers"].get(name) != answers_hash:
        raise SlqError(
            f"{answers.path}: changed since base's job wrote it (hash in {answer_hashes_file}); generate base's "
            "answers again"
        )
    inputs |= {"questions": answers.metrics["inputs"]["questions"], "answers": answers_hash}
    return EquivalenceSample(name, split, items, params, answers, inputs)


def read_recorded_weights_hash(adapter_file: Path) -> str:
    """Read the recorded hash of the backbone's weights, after checking that training did not change it."""
    weights = read_json(adapter_file)["weights"]
    if weights["before"] != weights["after"]:
        raise SlqError(
            f"{adapter_file}: training changed the backbone's weights (sha256 {weights['before'][:12]} before, "
            f"{weights['after'][:12]} after), so the run cannot inherit base's answers"
        )
    before: str = weights["before"]
    return before


def require_weights_hash(backbone: Backbone, expected_hash: str, description: str) -> None:
    """Raise SlqError unless a backbone's own weights have the hash that training recorded."""
    found_hash = hash_weights(backbone.model)
    if found_hash != expected_hash:
        raise SlqError(
            f"{description} has other weights than during training (sha256 {found_hash[:12]}, expected "
            f"{expected_hash[:12]})"
        )


def embed_sample(retriever: Any, backbone: Backbone, sample: EquivalenceSample) -> int:
    """Embed the sample's questions and images as in retrieval, and return the number of embeddings."""
    texts = [item["question"] for item in sample.items]
    images = [backbone.family.process(sample.split.open(path)) for item in sample.items for path in item["images"]]
    messages = [tokenize_message(backbone, (part,)) for part in [*texts, *images]]
    return len(embed_messages(retriever, messages, sample.params.batch_size))


def require_same_replies(
    backbone: Backbone, sample: EquivalenceSample, base_replies: list[list[int]], replies: list[list[int]]
) -> None:
    """Raise SlqError at the first item whose reply has a different token with the adapter loaded."""
    for item, before, after in zip(sample.items, base_replies, replies, strict=True):
        if before != after:
            decoded = [backbone.tokenizer.decode(ids) for ids in (after, before)]
            raise SlqError(
                f"{sample.name}: item {item['id']!r}: the reply with the adapter loaded is {decoded[0]!r}, but the "
                f"untouched backbone's reply is {decoded[1]!r}: not equivalent"
            )


def require_stored_replies(sample: EquivalenceSample, answered_items: Items) -> None:
    """Raise SlqError at the first item whose reply differs from the one stored for base."""
    for item, stored in zip(answered_items, sample.base_answers.items, strict=False):
        if item != stored:
            raise SlqError(
                f"{sample.name}: item {item['id']!r}: the reply is {item['answer']!r}, but base's reply in "
                f"{sample.base_answers.path} is {stored['answer']!r} (item {stored['id']!r}): not equivalent"
            )


def write_check_record(out: Path, sample: EquivalenceSample, base_folder: Path, check_record: dict[str, Any]) -> None:
    """Write a metrics file of a dataset that contains no metrics but refers to base's metrics file.

    The run's own answers and disagreements, which an earlier version may have written, are deleted.
    """
    for ending in ("answers", "disagreements"):
        (out / f"{sample.name}.{ending}.jsonl").unlink(missing_ok=True)
    inherited_path = (base_folder / f"{sample.name}.json").resolve().relative_to(out.resolve().parents[3]).as_posix()
    record = {"inherits_from": inherited_path, "equivalence_check": check_record, "inputs": sample.inputs}
    write_json(out / f"{sample.name}.json", {"schema": SCHEMA, "plan": current_plan(), **record})
