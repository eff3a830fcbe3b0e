"""What captions and notes say of the runs behind a table: their seeds, what they were trained on, what was tested."""

from collections.abc import Iterable, Mapping, Sequence

from slq.common.files import read_json
from slq.reporting.grid import Group
from slq.results.cells import Cell
from slq.results.layout import METHODS, Entry, Layout
from slq.results.records import Record, Results, relative

AUDIT_SCHEMA = 3
LEAKS = "Clean, leaked: queries of images that the training set does not hold, or holds, in the whole gallery."
HOW = "by number, photo, bytes or look"
UNTRAINED = "Nothing is trained. Test images seen: not stated of the backbone."
BOUNDS = (
    "{set}: the published answers to {ids} were corrected, and count as they were fetched. If {each} is missed, or hit"
)

# ---- seeds -----------------------------------------------------------------------------------------------------------


def runs_shown(layout: Layout, mean: bool = True) -> str:
    """End a table's caption with the preset, its seeds and, of several, what a cell holds.

    mean: else a cell is of the first seed's run
    """
    if layout.several and not mean:
        return f"Preset {layout.preset}, seed {layout.seeds[0]}."
    cells = "; mean ± standard deviation" if layout.several else ""
    return f"Preset {layout.preset}, {layout.which_seeds}{cells}."


def one_run(ours: Results, why: str) -> tuple[str, ...]:
    """Note whose runs stand for the methods, and why; nothing if each method has only one."""
    return (f"Of several seeds the first, {ours.layout.seeds[0]}: {why}",) if ours.layout.several else ()


def by_row(groups: Iterable[Group]) -> dict[str, Sequence[Cell]]:
    """List the cells of a table whose rows are methods of a backbone, by `<backbone>/<method>`."""
    return {row.key: row.cells for group in groups for row in group.rows}


def fewer_seeds(layout: Layout, cells: Mapping[str, Sequence[Cell]]) -> tuple[str, ...]:
    """Note the methods with a number that is not over every seed of the layout; nothing if there is none.

    Args:
        cells: of a table, by `<backbone>/<method>`; those of others are left alone
    """
    short = []
    for backbone in layout.backbones:
        for method in METHODS:
            seeds = len(layout.seeds_of(method))
            counts = sorted({cell.n for cell in cells.get(f"{backbone.name}/{method}", ()) if cell.n is not None})
            if counts and counts[0] < seeds:
                over = " or ".join(map(str, counts))
                short.append(f"{METHODS[method]} on {backbone.label} over {over} of {seeds} seeds")
    return (f"Not all runs exist: {'; '.join(short)}.",) if short else ()


# ---- what training has seen ------------------------------------------------------------------------------------------


def find_audit(ours: Results) -> Record | None:
    """Read the audit of the preset's sets, or None if it does not exist.

    Raises:
        SlqError: it is not JSON, or of another schema.
    """
    path = ours.root / ours.layout.preset / "audit.json"
    if not path.exists():
        return None
    return Record(path, relative(path, ours.root), read_json(path)).of_schema(AUDIT_SCHEMA)


def leaked(audit: Record | None, entry: Entry) -> list[str]:
    """List the ids of a set's test items that show an image of the training set."""
    return [] if audit is None else list(audit.at("splits", f"{entry.name}/test", "leaked"))


def _counted(audit: Record | None, entries: Iterable[Entry], words: str) -> list[str]:
    """How many test items training has seen, of each set that has such."""
    return [words.format(len(ids), entry.label) for entry in entries if (ids := leaked(audit, entry))]


def leak_note(ours: Results, audit: Record | None) -> tuple[str, ...]:
    """Note under Table E what the audit found in the retrieval sets."""
    if audit is None:
        return (f"Whether training has seen test images is not known: {ours.layout.preset}/audit.json does not exist.",)
    found = _counted(audit, ours.layout.retrieval_sets, "{} images of {}")
    if not found:
        return (f"The audit found no test image, {HOW}, in the training set.",)
    return (f"{LEAKS} The audit found {' and '.join(found)} in the training set, {HOW}.",)


def flag(ours: Results) -> tuple[str, ...]:
    """Note under every table of scores that training was allowed to see what is tested; nothing where it has not."""
    found = _counted(find_audit(ours), (*ours.layout.retrieval_sets, *ours.layout.retention_sets), "{:,} of {}")
    if not found:
        return ()
    return (f"Trained on a set that holds test items: {', '.join(found)} (allow_leak; Table E has the others apart).",)


def run_training(ours: Results, backbone: str, method: str) -> str:
    """Say what a run has learned from, and whether that holds test images; of several seeds the first.

    Raises:
        SlqError: its run.json or the audit cannot be used.
    """
    if method == "base":
        return UNTRAINED
    run, audit = ours.run(backbone, method, ours.layout.compared_seed(method)), find_audit(ours)
    if audit is None:
        return f"Trained on: not known: {ours.layout.preset}/audit.json does not exist. Test images seen: not known."
    trained = run and run.content.get("inputs", {}).get("train")
    split = next((name for name, one in audit.at("splits").items() if trained and one.get("sha256") == trained), None)
    if split is None:
        return "Trained on: not known. Test images seen: not known."
    found = _counted(audit, ours.layout.retrieval_sets, "{:,} of {}")
    return f"Trained on: {split}. Test images seen: {', '.join(found) or 'none'} ({audit.source})."


# ---- fetched retention sets ------------------------------------------------------------------------------------------


def origin_note(ours: Results) -> tuple[str, ...]:
    """Note which commits of the hub the sets are; nothing of sets that were not fetched from it."""
    told = []
    for entry in ours.layout.retention_sets:
        records = ours.everywhere(f"retention/{entry.name}.json")
        parts = dict.fromkeys(_told(part) for record in records for part in record.content.get("origin", []))
        told += [f"{entry.label}, {' and '.join(parts)}"] if parts else []
    return (f"Sets as fetched: {'; '.join(told)}.",) if told else ()


def _told(part: dict[str, str]) -> str:
    """`MMMU/MMMU at 0123456789ab`, of `dataset:MMMU/MMMU@main` and its commit."""
    return f"{part['from'].partition(':')[2].partition('@')[0]} at {part['commit'][:12]}"


def disputed_notes(ours: Results) -> tuple[str, ...]:
    """Note of each set with disputed items between which two scores every run is."""
    return tuple(note for entry in ours.layout.retention_sets if (note := _disputed_note(ours, entry)))


def _disputed_note(ours: Results, entry: Entry) -> str:
    ids: dict[str, None] = {}
    bounds = []
    for backbone in ours.layout.backbones:
        for method, label in METHODS.items():
            found = ours.over_seeds(backbone.name, method, f"retention/{entry.name}.json")
            found = [record for record in found if "disputed" in record.content]
            if found:
                ids |= {item["id"]: None for record in found for item in record.at("disputed", "items")}
                low, high = (
                    sum(record.number("disputed", key) for record in found) / len(found) for key in ("missed", "hit")
                )
                bounds.append(f"{label} ({backbone.label}) {low:.2f} to {high:.2f}")
    if not ids:
        return ""
    said = BOUNDS.format(set=entry.label, ids=" and ".join(ids), each="each" if len(ids) > 1 else "it")
    return f"{said}: {'; '.join(bounds)}."
