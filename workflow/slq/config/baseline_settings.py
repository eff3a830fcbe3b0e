"""Settings of the baseline jobs, selected from the configuration as in `slq.config.job_settings`."""

from slq.baselines.registry import find_baselines
from slq.common.errors import SlqError
from slq.config.job_settings import backbone_loading_settings, datasets_with_variants, used_members
from slq.config.loading import Config, active_preset, seeds
from slq.config.runs import list_run_seeds
from slq.methods.registry import BASE


def baseline_settings(config: Config, name: str) -> Config:
    """Build the settings for evaluating a baseline: those common to all kinds, and those of its kind."""
    kind, entry = find_baselines(config)[name]
    common = {"preset": config["preset"], "baseline": name, "kind": kind.name}
    return common | {"datasets": datasets_with_variants(config)} | kind.settings(config, entry)


def embedding_settings(config: Config, model: Config) -> Config:
    """Return the settings of embedding with a model: a dual `encoder`, or a `backbone` with a `readout`."""
    if "encoder" in model:
        settings = {"encoder": model["encoder"]}
    else:
        readout = config["readouts"][model["readout"]]
        settings = {
            "backbone": model["backbone"],
            **backbone_loading_settings(config, model["backbone"]),
            "readout": {key: value for key, value in readout.items() if key != "label"},
        }
    return {"model": settings, "batch_size": active_preset(config)["evaluation"]["batch_size"]}


def baseline_inputs(config: Config, name: str) -> dict[str, str]:
    """Return a file in scratch for each input of a baseline; the input is ready if the file exists."""
    kind, entry = find_baselines(config)[name]
    files = {}
    for part, (catalogue, one) in kind.inputs(config, entry).items():
        files[part] = f"{catalogue}/{one}/manifest.json"
        if catalogue == "methods":
            seed = list_run_seeds(one, seeds(config))[0]
            files[part] = f"runs/{config['preset']}/{entry['backbone']}/{one}/seed{seed}/adapter.json"
    return files


def baseline_models(config: Config) -> list[tuple[str, str]]:
    """List the models of the preset's baselines, as pairs of catalogue and name."""
    inputs = [one for kind, entry in find_baselines(config).values() for one in kind.inputs(config, entry).values()]
    return [(catalogue, name) for catalogue, name in dict.fromkeys(inputs) if catalogue != "methods"]


def baseline_members(config: Config, name: str) -> dict[str, list[str] | None]:
    """Return the registry members that a baseline uses, including its kind and the members of its first stage."""
    kind, entry = find_baselines(config)[name]
    inputs = kind.inputs(config, entry).values()
    backbones, encoders, methods = (
        [one for catalogue, one in inputs if catalogue == wanted] for wanted in ("backbones", "encoders", "methods")
    )
    return used_members(config, backbones, encoders, methods or [BASE]) | {"kinds": [kind.name]}


def pilot_settings(config: Config, backbone: str) -> Config:
    """Build the settings of the pilot on a backbone."""
    pilot = active_pilot(config)
    return dict(
        backbone=backbone,
        **backbone_loading_settings(config, backbone),
        readouts=[{"name": name, **config["readouts"][name]} for name in pilot["readouts"]],
        **{key: pilot[key] for key in ("dataset", "folder", "images", "texts") if key in pilot},
    )


def pilot_layout(config: Config) -> Config:
    """Build the settings of the pilot's figure."""
    pilot, preset = active_pilot(config), active_preset(config)
    return dict(
        preset=config["preset"],
        backbones=[{"name": one, "label": config["backbones"][one]["label"]} for one in preset["backbones"]],
        **{key: pilot[key] for key in ("dataset", "folder", "images") if key in pilot},
    )


def active_pilot(config: Config) -> Config:
    """Return the pilot of the active preset, which must have one."""
    if "pilot" not in active_preset(config):
        raise SlqError(
            f"config: presets.{config['preset']}.pilot is missing; list texts and images there (docs/tables.md, Pilot)"
        )
    pilot: Config = active_preset(config)["pilot"]
    return pilot
