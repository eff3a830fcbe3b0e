"""What a measured row has learned from, and whether that holds test images: from its files and the audit."""

from slq.reporting.layout import METHODS
from slq.reporting.leaks import find_audit, leaked
from slq.reporting.records import Record, Results

UNTRAINED = "Nothing is trained. Test images seen: not stated of the backbone."
TUNED = tuple(method for method in METHODS if method != "base")


def run_training(ours: Results, backbone: str, method: str) -> str:
    """Of a run, in sentences; of several seeds the first.

    Raises:
        SlqError: its run.json or the audit cannot be used.
    """
    if method == "base":
        return UNTRAINED
    run, audit = ours.run(backbone, method, ours.layout.compared_seed(method)), find_audit(ours)
    split = None if run is None or audit is None else _split(run, audit)
    if audit is None or split is None:
        why = "" if audit else f": {ours.layout.preset}/audit.json does not exist"
        return f"Trained on: not known{why}. Test images seen: not known."
    found = [f"{len(ids):,} of {entry.label}" for entry in ours.layout.retrieval_sets if (ids := leaked(audit, entry))]
    return f"Trained on: {split}. Test images seen: {', '.join(found) or 'none'} ({audit.source})."


def _split(run: Record, audit: Record) -> str | None:
    """The audited split that a run was trained on, by its hash."""
    trained = run.content.get("inputs", {}).get("train")
    splits = audit.at("splits")
    return next((name for name, split in splits.items() if trained and split.get("sha256") == trained), None)
