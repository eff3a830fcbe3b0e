"""Captions and notes about the runs behind a table: seeds, training data, leaked test items and dataset versions."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

from slq.methods.registry import BASE
from slq.reporting.table_model import RowGroup
from slq.results.cells import TableCell
from slq.results.layout import LayoutEntry, ReportLayout
from slq.results.load import Results
from slq.results.record import Record

LEAK_EXPLANATION = (
    "Clean, leaked: only queries of images that are not, or are, in the training set, ranked in the whole gallery."
)
MATCHED_BY = "by id, photo, bytes or appearance"
UNTRAINED_NOTE = "Nothing is trained. Test images seen: not stated for the backbone."
DISPUTED_BOUNDS = (
    "{dataset}: the published answers to {ids} were corrected; scores use the answers as fetched. "
    "Score with {each} counted as wrong, to score with {each} counted as correct"
)

# ---- seeds -----------------------------------------------------------------------------------------------------------


def describe_runs(layout: ReportLayout, several_seeds: str) -> str:
    """Return the end of a table's caption: the preset, its seeds and, if there are several, what a cell shows."""
    cells = f"; {several_seeds}" if layout.has_several_seeds else ""
    return f"Preset {layout.preset}, {layout.which_seeds}{cells}."


def cells_by_row(groups: Iterable[RowGroup]) -> dict[str, Sequence[TableCell]]:
    """Return the cells of a table by row key, which is `<backbone>/<method>` if rows are methods of a backbone."""
    return {row.key: row.cells for group in groups for row in group.rows}


def older_code_note(layout: ReportLayout) -> tuple[str, ...]:
    """Write the note about results of an older version of the code; empty unless `code` is pinned."""
    if not layout.older_code:
        return ()
    jobs = "; ".join(layout.older_code)
    return (f"Made by another version of the code than the present one, as the code is pinned: {jobs}.",)


def missing_seeds_note(layout: ReportLayout, cells: Mapping[str, Sequence[TableCell]]) -> tuple[str, ...]:
    """Write the note about methods whose numbers do not cover every seed of the layout; empty if there are none.

    Args:
        cells: cells of a table by `<backbone>/<method>`; other keys are ignored
    """
    incomplete = []
    for backbone in layout.backbones:
        for method, label in layout.labels.items():
            seeds = len(layout.seeds_of(method))
            counts = sorted({cell.n for cell in cells.get(f"{backbone.name}/{method}", ()) if cell.n is not None})
            if counts and counts[0] < seeds:
                over = " or ".join(map(str, counts))
                incomplete.append(f"{label} on {backbone.label} over {over} of {seeds} seeds")
    return (f"Not all runs exist: {'; '.join(incomplete)}.",) if incomplete else ()


# ---- training data and leakage ---------------------------------------------------------------------------------------


def leaked_ids(audit: Record | None, dataset: LayoutEntry) -> list[str]:
    """List the ids of a dataset's leaked test items, whose images are also in the training set."""
    return [] if audit is None else list(audit.value("splits", f"{dataset.name}/test", "leaked"))


def _leak_counts(audit: Record | None, datasets: Iterable[LayoutEntry], template: str) -> list[str]:
    """Describe the number of leaked test items of each dataset that has any."""
    return [template.format(len(ids), dataset.label) for dataset in datasets if (ids := leaked_ids(audit, dataset))]


def leak_note(results: Results) -> tuple[str, ...]:
    """Write the note under Table E about the leaked images that the audit found in the retrieval datasets."""
    if results.audit is None:
        audit = f"{results.layout.preset}/audit.json"
        return (f"It is not known whether the training set contains test images: {audit} does not exist.",)
    found = _leak_counts(results.audit, results.layout.retrieval_datasets, "{} images of {}")
    if not found:
        return (f"The audit found no test image, {MATCHED_BY}, in the training set.",)
    return (f"{LEAK_EXPLANATION} The audit found {' and '.join(found)} in the training set, {MATCHED_BY}.",)


def trained_on_test_note(results: Results) -> tuple[str, ...]:
    """Write the note that training used test items (allow_leak), for every table of scores; empty if it did not."""
    datasets = (*results.layout.retrieval_datasets, *results.layout.retention_datasets)
    found = ", ".join(_leak_counts(results.audit, datasets, "{:,} of {}"))
    note = f"The training set contains test items: {found} (allow_leak; Table E separates leaked from clean images)."
    return (note,) if found else ()


def describe_training_data(results: Results, backbone: str, method: str) -> str:
    """Describe the training data of a method's first seed, and the test images leaked into it."""
    if method == BASE:
        return UNTRAINED_NOTE
    audit = results.audit
    if audit is None:
        absent = f"{results.layout.preset}/audit.json does not exist"
        return f"Trained on: not known, because {absent}. Test images seen: not known."
    seed = results.layout.compared_seed(method)
    runs = [run for run in results.records("run", "", backbone) if (run.method, run.seed) == (method, seed)]
    train_sha256 = runs[0].record.content.get("inputs", {}).get("train") if runs else None
    hashes = {one.get("sha256"): name for name, one in reversed(audit.value("splits").items())}
    split = hashes.get(train_sha256) if train_sha256 else None
    if split is None:
        return "Trained on: not known. Test images seen: not known."
    found = _leak_counts(audit, results.layout.retrieval_datasets, "{:,} of {}")
    return f"Trained on: {split}. Test images seen: {', '.join(found) or 'none'} ({audit.source})."


# ---- fetched retention datasets --------------------------------------------------------------------------------------


def origin_note(results: Results) -> tuple[str, ...]:
    """Write the note with the commits of the retention datasets that were fetched from the Hugging Face Hub."""
    origins = []
    for dataset in results.layout.retention_datasets:
        files = results.records("retention", dataset.name)
        parts = dict.fromkeys(_origin_label(part) for file in files for part in file.record.content.get("origin", []))
        origins += [f"{dataset.label}, {' and '.join(parts)}"] if parts else []
    return (f"Datasets as fetched: {'; '.join(origins)}.",) if origins else ()


def _origin_label(part: dict[str, str]) -> str:
    """Format an origin, `dataset:MMMU/MMMU@main` with its commit, as `MMMU/MMMU at 0123456789ab`."""
    return f"{part['from'].partition(':')[2].partition('@')[0]} at {part['commit'][:12]}"


def disputed_notes(results: Results) -> tuple[str, ...]:
    """Write a note for each dataset with disputed items: the lowest and highest possible score of each method."""
    notes = []
    for dataset in results.layout.retention_datasets:
        files = [file for file in results.records("retention", dataset.name) if "disputed" in file.record.content]
        bounds = []
        for backbone, (method, label) in product(results.layout.backbones, results.layout.labels.items()):
            found = [file.record for file in files if (file.backbone, file.method) == (backbone.name, method)]
            if found:
                keys = ("score_if_wrong", "score_if_correct")
                low, high = (sum(record.number("disputed", key) for record in found) / len(found) for key in keys)
                bounds.append(f"{label} ({backbone.label}) {low:.2f} to {high:.2f}")
        if ids := list(dict.fromkeys(item["id"] for file in files for item in file.record.value("disputed", "items"))):
            each = "each" if len(ids) > 1 else "it"
            sentence = DISPUTED_BOUNDS.format(dataset=dataset.label, ids=" and ".join(ids), each=each)
            notes.append(f"{sentence}: {'; '.join(bounds)}.")
    return tuple(notes)
