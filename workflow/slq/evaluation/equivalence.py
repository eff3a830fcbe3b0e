"""Proof that a run answers as its untouched backbone does: base's answers are its own and need not be made again.

The backbone's weights have one hash: when training began and ended, now, and with the trained adapter loaded. The first
items of every set are answered by the untouched backbone and, token for token alike, by the same one with the adapter
loaded, after it has embedded texts and images with its queries: what that leaves in the model changes nothing. And
these are the replies that are stored as base's.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from slq.common.errors import SlqError
from slq.common.events import Events, describe_device
from slq.common.files import read_json, sha256, write_json
from slq.common.snapshots import identity
from slq.datasets.prepared import Split, read_split
from slq.evaluation.encode import embed_messages
from slq.evaluation.generation import Asking, Items, answer_lines, reply, require_limits
from slq.evaluation.retention import asking, retention_inputs
from slq.evaluation.retention_metrics import SCHEMA
from slq.evaluation.stored_metrics import Answers, read_answers
from slq.methods import registry
from slq.models.backbone import Backbone, hash_weights, pick_device
from slq.models.prefix import encode


@dataclass(frozen=True)
class Sample:
    """The first batches of a set, how they are asked, and base's answers to the set."""

    name: str
    split: Split
    items: Items
    how: Asking
    base: Answers
    inputs: dict[str, str]

    def ask(self, backbone: Backbone) -> tuple[list[str], list[list[int]]]:
        """Prompts and token ids of the replies, in the batches in which base was asked."""
        batches = tqdm(list(self.how.batches(self.items)), desc=f"{self.name} proof", disable=None, file=sys.stderr)
        found = [reply(backbone, self.split, batch, self.how) for batch in batches]
        return [prompt for prompts, _ in found for prompt in prompts], [ids for _, replies in found for ids in replies]


def prove(
    settings: dict[str, Any],
    backbone_folder: Path,
    adapter: Path,
    data: Path,
    base: Path,
    retained: Path,
    out: Path,
    events_file: Path,
) -> None:
    """Write for every retention set that its numbers are base's; nothing at all if anything differs.

    Args:
        base: the folder of base's answers and metrics; `retained`: the hashes of the answers, by the job that made them

    Raises:
        SlqError: a weight, a token or a stored reply differs, or base's answers were made from other inputs.
    """
    events = Events.gathered(adapter / "events" / events_file.name, device=describe_device(pick_device()))
    asked, count = settings["asked"], settings["proof_items"]
    with events.span("init"):
        backbone = Backbone.load(backbone_folder, asked["family"], asked["dtype"], pick_device())
        paths = (backbone_folder, adapter, data, base, retained)
        samples = [sample(asked, entry, count, *paths) for entry in asked["sets"]]
        weights = recorded_weights(adapter / "adapter.json")
        require_weights(backbone, weights, f"{backbone_folder}: the backbone")
    untouched = {}
    for one in samples:
        require_limits(backbone, one.how.limits)
        with events.span("eval", set=one.name, adapter=False):
            untouched[one.name] = one.ask(backbone)
    with events.span("init"):
        retriever = registry.load(backbone, adapter, identity(backbone_folder))
        require_weights(backbone, weights, f"{adapter}: the backbone with this adapter loaded")
    proofs = {}
    for one in samples:
        with events.span("eval", set=one.name, adapter=True):
            embedded = embed(retriever, backbone, one)
            prompts, replies = one.ask(backbone)
        require_alike(backbone, one, untouched[one.name][1], replies)
        require_bases(one, answer_lines(backbone, one.items, prompts, replies))
        tokens = sum(map(len, replies))
        proofs[one.name] = {"weights": weights, "items": len(replies), "tokens": tokens, "embedded": embedded}
    require_weights(backbone, weights, f"{adapter}: the backbone after embedding and answering")
    for one in samples:
        write_proof(out, one, base, proofs[one.name])
    events.publish(events_file)


def sample(
    asked: dict[str, Any],
    entry: dict[str, Any],
    count: int,
    backbone_folder: Path,
    adapter: Path,
    data: Path,
    base: Path,
    retained: Path,
) -> Sample:
    """The first `count` items of a set, or the few more that fill their last batch, and what base answers to the set.

    Raises:
        SlqError: base's files are not those that its job left, or were made from other inputs.
    """
    name, how = entry["name"], asking(asked, entry)
    split = read_split(data, name, "test")
    items = split.items[: -(-count // how.batch_size) * how.batch_size]
    answers = read_answers(base / f"{name}.json")
    inputs = retention_inputs(asked, entry, backbone_folder, adapter, split)
    for key in ("backbone", "set", "settings"):
        if answers.metrics["inputs"].get(key) != inputs[key]:
            raise SlqError(f"{answers.path}: made from another {key} than this run's; answer the set with base again")
    hashed = sha256(answers.path)
    if read_json(retained)["answers"].get(name) != hashed:
        raise SlqError(f"{answers.path}: not as base's job left it ({retained}); answer the set with base again")
    inputs |= {"questions": answers.metrics["inputs"]["questions"], "answers": hashed}
    return Sample(name, split, items, how, answers, inputs)


def recorded_weights(saved: Path) -> str:
    """The hash of the backbone's weights that training recorded, before and after it alike.

    Raises:
        SlqError: training changed them.
    """
    weights = read_json(saved)["weights"]
    if weights["before"] != weights["after"]:
        raise SlqError(
            f"{saved}: training changed the backbone's weights (sha256 {weights['before'][:12]} before, "
            f"{weights['after'][:12]} after): its answers are its own, and are not proved"
        )
    before: str = weights["before"]
    return before


def require_weights(backbone: Backbone, expected: str, what: str) -> None:
    """Raise SlqError unless a backbone's own weights have the hash that training recorded."""
    found = hash_weights(backbone.model)
    if found != expected:
        raise SlqError(f"{what} has other weights than in training (sha256 {found[:12]}, recorded {expected[:12]})")


def embed(retriever: Any, backbone: Backbone, one: Sample) -> int:
    """Embed the sample's questions and images as retrieval does, images last; the number of vectors."""
    texts = [item["question"] for item in one.items]
    images = [backbone.family.process(one.split.open(path)) for item in one.items for path in item["images"]]
    messages = [encode(backbone, (part,)) for part in [*texts, *images]]
    return len(embed_messages(retriever, messages, one.how.batch_size))


def require_alike(backbone: Backbone, one: Sample, untouched: list[list[int]], replies: list[list[int]]) -> None:
    """Raise SlqError at the first item whose reply has another token with the adapter loaded."""
    for item, before, after in zip(one.items, untouched, replies, strict=True):
        if before != after:
            told = [backbone.tokenizer.decode(ids) for ids in (after, before)]
            raise SlqError(
                f"{one.name}: item {item['id']!r}: the reply with the adapter loaded is {told[0]!r}, and that of the "
                f"untouched backbone {told[1]!r}: nothing is proved"
            )


def require_bases(one: Sample, lines: Items) -> None:
    """Raise SlqError at the first item whose reply is not the stored one of base."""
    for line, stored in zip(lines, one.base.items, strict=False):
        if line != stored:
            raise SlqError(
                f"{one.name}: item {line['id']!r}: the reply is {line['answer']!r}, and base's in {one.base.path} "
                f"{stored['answer']!r} (item {stored['id']!r}): nothing is proved"
            )


def write_proof(out: Path, one: Sample, base: Path, proof: dict[str, Any]) -> None:
    """The file that stands for a set's metrics; answers of its own, of an earlier version, would contradict it."""
    for ending in ("answers", "disagreements"):
        (out / f"{one.name}.{ending}.jsonl").unlink(missing_ok=True)
    equal = (base / f"{one.name}.json").resolve().relative_to(out.resolve().parents[3]).as_posix()
    write_json(out / f"{one.name}.json", {"schema": SCHEMA, "equals": equal, "proof": proof, "inputs": one.inputs})
