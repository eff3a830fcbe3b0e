"""What captions and notes say of the runs behind a table: their seeds, what they were trained on, what was tested."""

from collections.abc import Iterable, Mapping, Sequence

from slq.common.files import read_json
from slq.reporting.table_model import RowGroup
from slq.results.cells import TableCell
from slq.results.layout import METHODS, LayoutEntry, ReportLayout
from slq.results.records import Record, Results, relative_path

AUDIT_SCHEMA = 4
LEAK_EXPLANATION = (
    "Clean, leaked: queries of images that the training set does not hold, or holds, in the whole gallery."
)
MATCHED_BY = "by number, photo, bytes or look"
UNTRAINED_NOTE = "Nothing is trained. Test images seen: not stated of the backbone."
DISPUTED_BOUNDS = (
    "{dataset}: the published answers to {ids} were corrected, and count as they were fetched. "
    "If {each} is missed, or hit"
)

# ---- seeds -----------------------------------------------------------------------------------------------------------


def describe_runs(layout: ReportLayout, cells_are_means: bool = True) -> str:
    """End a table's caption with the preset, its seeds and, of several, what a cell holds.

    cells_are_means: else a cell is of the first seed's run
    """
    if layout.has_several_seeds and not cells_are_means:
        return f"Preset {layout.preset}, seed {layout.seeds[0]}."
    cells = "; mean ± standard deviation" if layout.has_several_seeds else ""
    return f"Preset {layout.preset}, {layout.which_seeds}{cells}."


def first_seed_note(results: Results, reason: str) -> tuple[str, ...]:
    """Note whose runs stand for the methods, and why; nothing if each method has only one."""
    return (
        (f"Of several seeds the first, {results.layout.seeds[0]}: {reason}",)
        if results.layout.has_several_seeds
        else ()
    )


def cells_by_row(groups: Iterable[RowGroup]) -> dict[str, Sequence[TableCell]]:
    """List the cells of a table whose rows are methods of a backbone, by `<backbone>/<method>`."""
    return {row.key: row.cells for group in groups for row in group.rows}


def missing_seeds_note(layout: ReportLayout, cells: Mapping[str, Sequence[TableCell]]) -> tuple[str, ...]:
    """Note the methods with a number that is not over every seed of the layout; nothing if there is none.

    Args:
        cells: of a table, by `<backbone>/<method>`; those of others are left alone
    """
    incomplete = []
    for backbone in layout.backbones:
        for method in METHODS:
            seeds = len(layout.seeds_of(method))
            counts = sorted({cell.n for cell in cells.get(f"{backbone.name}/{method}", ()) if cell.n is not None})
            if counts and counts[0] < seeds:
                over = " or ".join(map(str, counts))
                incomplete.append(f"{METHODS[method]} on {backbone.label} over {over} of {seeds} seeds")
    return (f"Not all runs exist: {'; '.join(incomplete)}.",) if incomplete else ()


# ---- what training has seen ------------------------------------------------------------------------------------------


def find_audit(results: Results) -> Record | None:
    """Read the audit of the preset's datasets, or None if it does not exist.

    Raises:
        SlqError: it is not JSON, or of another schema.
    """
    path = results.root / results.layout.preset / "audit.json"
    if not path.exists():
        return None
    return Record(path, relative_path(path, results.root), read_json(path)).require_schema(AUDIT_SCHEMA)


def leaked_ids(audit: Record | None, dataset: LayoutEntry) -> list[str]:
    """List the ids of a dataset's test items that show an image of the training set."""
    return [] if audit is None else list(audit.value("splits", f"{dataset.name}/test", "leaked"))


def _leak_counts(audit: Record | None, datasets: Iterable[LayoutEntry], template: str) -> list[str]:
    """How many test items training has seen, of each dataset that has such."""
    return [template.format(len(ids), dataset.label) for dataset in datasets if (ids := leaked_ids(audit, dataset))]


def leak_note(results: Results, audit: Record | None) -> tuple[str, ...]:
    """Note under Table E what the audit found in the retrieval datasets."""
    if audit is None:
        return (
            f"Whether training has seen test images is not known: {results.layout.preset}/audit.json does not exist.",
        )
    found = _leak_counts(audit, results.layout.retrieval_datasets, "{} images of {}")
    if not found:
        return (f"The audit found no test image, {MATCHED_BY}, in the training set.",)
    return (f"{LEAK_EXPLANATION} The audit found {' and '.join(found)} in the training set, {MATCHED_BY}.",)


def trained_on_test_note(results: Results) -> tuple[str, ...]:
    """Note under every table of scores that training was allowed to see what is tested; nothing where it has not."""
    found = _leak_counts(
        find_audit(results), (*results.layout.retrieval_datasets, *results.layout.retention_datasets), "{:,} of {}"
    )
    if not found:
        return ()
    return (
        f"Trained on a dataset that holds test items: {', '.join(found)} (allow_leak; Table E has the others apart).",
    )


def describe_training_data(results: Results, backbone: str, method: str) -> str:
    """Say what a run has learned from, and whether that holds test images; of several seeds the first.

    Raises:
        SlqError: its run.json or the audit cannot be used.
    """
    if method == "base":
        return UNTRAINED_NOTE
    run, audit = results.run_record(backbone, method, results.layout.compared_seed(method)), find_audit(results)
    if audit is None:
        return f"Trained on: not known: {results.layout.preset}/audit.json does not exist. Test images seen: not known."
    train_sha256 = run and run.content.get("inputs", {}).get("train")
    split = next(
        (name for name, one in audit.value("splits").items() if train_sha256 and one.get("sha256") == train_sha256),
        None,
    )
    if split is None:
        return "Trained on: not known. Test images seen: not known."
    found = _leak_counts(audit, results.layout.retrieval_datasets, "{:,} of {}")
    return f"Trained on: {split}. Test images seen: {', '.join(found) or 'none'} ({audit.source})."


# ---- fetched retention datasets --------------------------------------------------------------------------------------


def origin_note(results: Results) -> tuple[str, ...]:
    """Note which commits of the hub the datasets are; nothing of datasets that were not fetched from it."""
    origins = []
    for dataset in results.layout.retention_datasets:
        records = results.find_all_runs(f"retention/{dataset.name}.json")
        parts = dict.fromkeys(_origin_label(part) for record in records for part in record.content.get("origin", []))
        origins += [f"{dataset.label}, {' and '.join(parts)}"] if parts else []
    return (f"Datasets as fetched: {'; '.join(origins)}.",) if origins else ()


def _origin_label(part: dict[str, str]) -> str:
    """`MMMU/MMMU at 0123456789ab`, of `dataset:MMMU/MMMU@main` and its commit."""
    return f"{part['from'].partition(':')[2].partition('@')[0]} at {part['commit'][:12]}"


def disputed_notes(results: Results) -> tuple[str, ...]:
    """Note of each dataset with disputed items between which two scores every run is."""
    return tuple(note for dataset in results.layout.retention_datasets if (note := _disputed_note(results, dataset)))


def _disputed_note(results: Results, dataset: LayoutEntry) -> str:
    ids: dict[str, None] = {}
    bounds = []
    for backbone in results.layout.backbones:
        for method, label in METHODS.items():
            found = results.find_all_seeds(backbone.name, method, f"retention/{dataset.name}.json")
            found = [record for record in found if "disputed" in record.content]
            if found:
                ids |= {item["id"]: None for record in found for item in record.value("disputed", "items")}
                low, high = (
                    sum(record.number("disputed", key) for record in found) / len(found)
                    for key in ("score_if_wrong", "score_if_correct")
                )
                bounds.append(f"{label} ({backbone.label}) {low:.2f} to {high:.2f}")
    if not ids:
        return ""
    sentence = DISPUTED_BOUNDS.format(
        dataset=dataset.label, ids=" and ".join(ids), each="each" if len(ids) > 1 else "it"
    )
    return f"{sentence}: {'; '.join(bounds)}."
