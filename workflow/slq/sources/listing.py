"""Table of sources for users: whether they are fetched, their sizes, and the terms to accept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slq.config.baseline_settings import baseline_models
from slq.config.loading import Config, evaluation_datasets, is_derived, load_merged_config, parent_dataset
from slq.sources.fetch import STATE_FOLDER, part_address

UNVERIFIED_NOTE = " (commit from a public listing, not fetched here)"
HEADER = ("source", "GB", "here", "for", "licence", "from")


@dataclass(frozen=True)
class DiskSpace:
    """Disk space of sources, in GB: `files` permanently, and `unpacking` more while the largest archive is unpacked."""

    files: float
    unpacking: float

    def __str__(self) -> str:
        """Return a phrase with both numbers, which README.md and docs/data.md repeat."""
        more = f", and {self.unpacking:.1f} GB more while an archive is unpacked"
        return f"{self.files:.1f} GB of disk{more if self.unpacking else ''}"


def sources_disk_space(config: Config, names: Sequence[str]) -> DiskSpace:
    """Compute the disk space that is needed to fetch these sources."""
    parts = [part for name in names for part in config["sources"][name]["parts"]]
    archives = [part["gb"] for part in parts if "archive" in part]
    return DiskSpace(sum((part["gb"] for part in parts), 0.0), max(archives, default=0.0))


def format_source_table(files: Sequence[Path], preset: str | None) -> str:
    """Format a line for each source, then the total size of the missing sources and the terms to accept first.

    Args:
        files: the configuration file and its overrides.
        preset: list only the sources that this preset fetches; None for all sources.
    """
    config = load_merged_config(files, preset)
    folders_by_preset = {name: list(_fetching_presets(config, name)) for name in config["sources"]}
    table_rows, missing, todo = [], [], []
    for name, source in config["sources"].items():
        users = [user for user, _ in folders_by_preset[name]]
        if preset is not None and preset not in users:
            continue
        gb = sources_disk_space(config, [name]).files
        state = _fetch_state(config, name, [at for _, at in folders_by_preset[name]])
        missing += [name] if state != "yes" else []
        todo += [f"{name}: accept {source['accept']} (account: {source['account']})"] if "accept" in source else []
        note = UNVERIFIED_NOTE if state != "yes" else ""
        origins = " + ".join(part_address(part) + note * ("from_listing" in part) for part in source["parts"])
        table_rows.append((name, f"{gb:.2f}", state, " ".join(dict.fromkeys(users)) or "-", source["licence"], origins))
    lines = _align_columns([HEADER, *table_rows])
    return "\n".join([*lines, "", f"not here yet: {sources_disk_space(config, missing)}", *todo])


def list_fetched_sources(config: Config, preset: str) -> list[tuple[str, str]]:
    """List the sources that a preset fetches, as pairs of the folder in scratch and the source's name."""
    preset_config = config["presets"][preset]
    models = [("backbones", name) for name in preset_config["backbones"]]
    models += [("encoders", name) for name in preset_config["reference_encoders"]]
    models += baseline_models(config | {"preset": preset})
    found = [
        (f"{place}/{name}", config[place][name]["source"])
        for place, name in dict.fromkeys(models)
        if "source" in config[place][name]
    ]
    names = [preset_config["train_dataset"], *evaluation_datasets(preset_config)]
    names += [parent_dataset(config["datasets"][name]) for name in names if is_derived(config["datasets"][name])]
    sources = dict.fromkeys(
        config["datasets"][name]["source"] for name in names if "source" in config["datasets"][name]
    )
    return found + [(f"sources/{source}", source) for source in sources]


def _fetching_presets(config: Config, name: str) -> list[tuple[str, str]]:
    """Return pairs of each preset that fetches a source, and the folder in scratch to which it is fetched."""
    found = [(preset, *entry) for preset in config["presets"] for entry in list_fetched_sources(config, preset)]
    return [(preset, folder) for preset, folder, source in found if source == name]


def _fetch_state(config: Config, name: str, subfolders: Sequence[str]) -> str:
    """Return whether a source is fetched, from the state of its folders: `yes`, `begun` or `no`."""
    folders = [Path(config["scratch"]) / place for place in subfolders or [f"sources/{name}"]]
    if all((folder / "manifest.json").is_file() for folder in folders):
        return "yes"
    return "begun" if any((folder / STATE_FOLDER).is_dir() for folder in folders) else "no"


def _align_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Format rows as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
