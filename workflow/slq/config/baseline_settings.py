"""The settings of baseline jobs, cut from the configuration as `slq.config.job_settings` does for runs."""

from slq.common.errors import SlqError
from slq.config.baselines import Baseline, build_comparator
from slq.config.job_settings import backbone_loading_settings, datasets_with_variants, used_members
from slq.config.loading import Config, active_preset
from slq.config.runs import is_method
from slq.methods.registry import BASE


def embed_settings(config: Config, baseline: Baseline) -> Config:
    """Build the settings of a baseline that retrieves with its own embeddings."""
    return {
        "preset": config["preset"],
        "baseline": baseline.name,
        "kind": baseline.kind,
        "model": embedding_model(config, baseline),
        "batch_size": active_preset(config)["evaluation"]["batch_size"],
        "datasets": datasets_with_variants(config),
    }


def embedding_model(config: Config, baseline: Baseline) -> Config:
    """Return the embedding model of a baseline: a dual encoder, or a backbone and its read-out."""
    if baseline.encoder is not None:
        return {"encoder": baseline.encoder}
    assert baseline.backbone is not None and baseline.readout is not None
    return {
        "backbone": baseline.backbone,
        **backbone_loading_settings(config, baseline.backbone),
        "readout": {key: value for key, value in config["readouts"][baseline.readout].items() if key != "label"},
    }


def baseline_members(config: Config, baseline: Baseline) -> dict[str, list[str] | None]:
    """Return the families, dual-encoder types and methods that a baseline uses, including those of its first stage."""
    stages = [name for name in (baseline.first_stage, baseline.reranker) if name is not None]
    methods = [name for name in stages if is_method(active_preset(config), name)]
    baselines = [baseline, *(build_comparator(config, name) for name in stages if name not in methods)]
    backbones = [one.backbone for one in baselines if one.backbone is not None]
    encoders = [one.encoder for one in baselines if one.encoder is not None]
    return used_members(config, backbones, encoders, methods or [BASE])


def rerank_settings(config: Config, baseline: Baseline) -> Config:
    """Build the settings of a re-ranking baseline: its first stage, its backbone, and how the backbone is prompted."""
    assert baseline.backbone is not None and baseline.first_stage is not None
    preset = active_preset(config)
    return dict(
        preset=config["preset"],
        baseline=baseline.name,
        kind=baseline.kind,
        backbone=baseline.backbone,
        **backbone_loading_settings(config, baseline.backbone),
        prompt=preset["prompt"],
        first_stage=_first_stage(config, baseline.first_stage),
        reranker=baseline.reranker,
        embed_batch=preset["evaluation"]["batch_size"],
        **{key: value for key, value in preset["rerank"].items() if key != "baselines"},
        datasets=datasets_with_variants(config),
    )


def _first_stage(config: Config, name: str) -> Config:
    """Return the first stage of a re-ranking baseline: a method on the same backbone, or the model of a comparator."""
    if is_method(active_preset(config), name):
        return {"method": name}
    return {"model": embedding_model(config, build_comparator(config, name))}


def pilot_settings(config: Config, backbone: str) -> Config:
    """Build the settings of the pilot on a backbone.

    Raises:
        SlqError: the preset has no pilot.
    """
    pilot = active_pilot(config)
    return dict(
        backbone=backbone,
        **backbone_loading_settings(config, backbone),
        readouts=[{"name": name, **config["readouts"][name]} for name in pilot["readouts"]],
        **{key: pilot[key] for key in ("dataset", "folder", "images", "texts") if key in pilot},
    )


def pilot_layout(config: Config) -> Config:
    """Build the settings of the pilot's figure.

    Raises:
        SlqError: the preset has no pilot.
    """
    pilot = active_pilot(config)
    return dict(
        preset=config["preset"],
        backbones=[
            {"name": name, "label": config["backbones"][name]["label"]} for name in active_preset(config)["backbones"]
        ],
        **{key: pilot[key] for key in ("dataset", "folder", "images") if key in pilot},
    )


def active_pilot(config: Config) -> Config:
    """Return the pilot of the active preset.

    Raises:
        SlqError: the preset has no pilot.
    """
    if "pilot" not in active_preset(config):
        raise SlqError(
            f"config: presets.{config['preset']}.pilot is missing; name texts and images there (docs/results.md, Pilot)"
        )
    pilot: Config = active_preset(config)["pilot"]
    return pilot
