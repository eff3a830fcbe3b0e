"""The table of sources as a person reads it: what is there, what it costs, which terms are to be accepted."""

from collections.abc import Sequence
from pathlib import Path

from slq.common.errors import SlqError
from slq.config.loading import Config, is_derived, load, origin, tested_sets
from slq.config.yaml_files import read_yaml
from slq.sources.fetch import STATE, address

LISTED = " (commit from a public listing, not fetched here)"
HEAD = ("source", "GB", "here", "for", "licence", "from")


def listing(files: Sequence[Path], preset: str | None) -> str:
    """A line for each source, then what is to be fetched in all, and what a person has to do before.

    Args:
        files: the configuration and what is laid over it; none: config.yaml.
        preset: list only what this preset fetches; None for the whole table.

    Raises:
        SlqError: the configuration is not sound, or has no such preset.
    """
    config = merged(files or [Path("config.yaml")])
    if preset is not None and preset not in config["presets"]:
        raise SlqError(f"--preset {preset}: there are {', '.join(config['presets'])}")
    places = {name: list(_places(config, name)) for name in config["sources"]}
    rows, missing, todo = [], 0.0, []
    for name, source in config["sources"].items():
        users = [user for user, _ in places[name]]
        if preset is not None and preset not in users:
            continue
        gb, state = sum(part["gb"] for part in source["parts"]), _state(config, name, [at for _, at in places[name]])
        missing += 0.0 if state == "yes" else gb
        todo += [f"{name}: accept {source['accept']} (account: {source['account']})"] if "accept" in source else []
        listed = LISTED if state != "yes" else ""
        origins = " + ".join(address(part) + listed * ("from_listing" in part) for part in source["parts"])
        rows.append((name, f"{gb:.2f}", state, " ".join(dict.fromkeys(users)) or "-", source["licence"], origins))
    lines = _aligned([HEAD, *rows])
    return "\n".join([*lines, "", f"not here yet: {missing:.1f} GB", *todo])


def merged(files: Sequence[Path]) -> Config:
    """The checked configuration of a file and what is laid over it, as Snakemake does it.

    Raises:
        SlqError: a file cannot be read, is no YAML or has a key twice, or the configuration is not sound.
    """
    config: Config = {}
    for file in files:
        content = read_yaml(file)
        if not isinstance(content, dict):
            raise SlqError(f"{file}: expected keys of config.yaml with their values")
        _lay(content, config)
    return load(config)


def _lay(over: Config, under: Config) -> None:
    """Lists are replaced, mappings merged."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            _lay(value, under[key])
        else:
            under[key] = value


def fetched(config: Config, preset: str) -> list[tuple[str, str]]:
    """What a preset fetches: the folder in scratch, and the source that fills it."""
    settings = config["presets"][preset]
    models = [("backbones", name) for name in settings["backbones"]]
    models += [("encoders", name) for name in settings["instruments"]]
    for entry in (config["comparators"][name] for name in settings["comparators"]):
        models.append(("encoders", entry["encoder"]) if "encoder" in entry else ("backbones", entry["backbone"]))
    found = [
        (f"{place}/{name}", config[place][name]["source"])
        for place, name in dict.fromkeys(models)
        if "source" in config[place][name]
    ]
    names = [settings["train_set"], *tested_sets(settings)]
    names += [origin(config["sets"][name]) for name in names if is_derived(config["sets"][name])]
    sources = dict.fromkeys(config["sets"][name]["source"] for name in names if "source" in config["sets"][name])
    return found + [(f"sources/{source}", source) for source in sources]


def _places(config: Config, name: str) -> list[tuple[str, str]]:
    """The presets that fetch a source, each with the folder in scratch that it goes to."""
    found = [(preset, *entry) for preset in config["presets"] for entry in fetched(config, preset)]
    return [(preset, folder) for preset, folder, source in found if source == name]


def _state(config: Config, name: str, places: Sequence[str]) -> str:
    """`yes`, `begun` or `no`, by the folders that the source goes to."""
    folders = [Path(config["scratch"]) / place for place in places or [f"sources/{name}"]]
    if all((folder / "manifest.json").is_file() for folder in folders):
        return "yes"
    return "begun" if any((folder / STATE).is_dir() for folder in folders) else "no"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
