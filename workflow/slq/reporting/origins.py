"""What notes say of fetched retention sets: the commit of each, and the scores for either answer to disputed items."""

from slq.reporting.layout import METHODS, Entry
from slq.reporting.records import Record, Results

BOUNDS = (
    "{set}: the published answers to {ids} were corrected, and count as they were fetched. If {each} is missed, or hit"
)


def origin_note(ours: Results) -> tuple[str, ...]:
    """Which commits of the hub the sets are; nothing of sets that were not fetched from it."""
    told = []
    for entry in ours.layout.retention_sets:
        parts = {_told(part): None for record in _records(ours, entry) for part in record.content.get("origin", [])}
        told += [f"{entry.label}, {' and '.join(parts)}"] if parts else []
    return (f"Sets as fetched: {'; '.join(told)}.",) if told else ()


def disputed_notes(ours: Results) -> tuple[str, ...]:
    """Of each set with disputed items, between which two scores every run is."""
    return tuple(note for entry in ours.layout.retention_sets if (note := _disputed_note(ours, entry)))


def _disputed_note(ours: Results, entry: Entry) -> str:
    ids: dict[str, None] = {}
    bounds = []
    for backbone in ours.layout.backbones:
        for method, label in METHODS.items():
            found = [
                record
                for record in ours.over_seeds(backbone.name, method, f"retention/{entry.name}.json")
                if "disputed" in record.content
            ]
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


def _records(ours: Results, entry: Entry) -> list[Record]:
    return [
        record
        for backbone in ours.layout.backbones
        for method in METHODS
        for record in ours.over_seeds(backbone.name, method, f"retention/{entry.name}.json")
    ]


def _told(part: dict[str, str]) -> str:
    """`MMMU/MMMU at 0123456789ab`, of `dataset:MMMU/MMMU@main` and its commit."""
    return f"{part['from'].partition(':')[2].partition('@')[0]} at {part['commit'][:12]}"
