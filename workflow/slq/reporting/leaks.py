"""Test images that the training set holds, as the audit found them: for Table E, and for a note under the others."""

from slq.files import read_json
from slq.reporting.layout import Entry
from slq.reporting.records import Record, Results, relative

AUDIT_SCHEMA = 3
LEAKS = "Clean, leaked: queries of images that the training set does not hold, or holds, in the whole gallery."
HOW = "by number, photo, bytes or look"


def find_audit(ours: Results) -> Record | None:
    """The audit of the preset's sets, or None if it does not exist.

    Raises:
        SlqError: it is not JSON, or of another schema.
    """
    path = ours.root / ours.layout.preset / "audit.json"
    if not path.exists():
        return None
    return Record(path, relative(path, ours.root), read_json(path)).of_schema(AUDIT_SCHEMA)


def leaked(audit: Record | None, entry: Entry) -> list[str]:
    """Ids of a set's test items that show an image of the training set."""
    return [] if audit is None else list(audit.at("splits", f"{entry.name}/test", "leaked"))


def leak_note(ours: Results, audit: Record | None) -> tuple[str, ...]:
    """Of Table E: what the audit found in the retrieval sets."""
    if audit is None:
        return (f"Whether training has seen test images is not known: {ours.layout.preset}/audit.json does not exist.",)
    found = [f"{len(ids)} images of {one.label}" for one in ours.layout.retrieval_sets if (ids := leaked(audit, one))]
    if not found:
        return (f"The audit found no test image, {HOW}, in the training set.",)
    return (f"{LEAKS} The audit found {' and '.join(found)} in the training set, {HOW}.",)


def flag(ours: Results) -> tuple[str, ...]:
    """Of every table of scores: that training was allowed to see what is tested; nothing where it has seen none."""
    audit = find_audit(ours)
    entries = [*ours.layout.retrieval_sets, *ours.layout.retention_sets]
    found = [f"{len(ids):,} of {one.label}" for one in entries if (ids := leaked(audit, one))]
    if not found:
        return ()
    return (f"Trained on a set that holds test items: {', '.join(found)} (allow_leak; Table E has the others apart).",)
