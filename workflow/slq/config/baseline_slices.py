"""The slices of the configuration for rows that are no runs, as `slq.config.slices` has them for runs."""

from slq.common.errors import SlqError
from slq.config.baselines import METHODS, Row, comparator
from slq.config.loading import Config, chosen
from slq.config.slices import adapters, compact, counted_sets, read_as


def embed_settings(config: Config, row: Row) -> str:
    """Of a row that finds by its own vectors."""
    return compact(
        preset=config["preset"],
        row=row.name,
        kind=row.kind,
        model=embedding_model(config, row),
        batch_size=chosen(config)["evaluation"]["batch_size"],
        sets=counted_sets(config),
    )


def embedding_model(config: Config, row: Row) -> Config:
    """What a row embeds with: a dual encoder, or a backbone and how it is read out."""
    if row.encoder is not None:
        return {"encoder": row.encoder}
    assert row.backbone is not None and row.readout is not None
    return {
        "backbone": row.backbone,
        **read_as(config, row.backbone),
        "readout": {key: value for key, value in config["readouts"][row.readout].items() if key != "label"},
    }


def row_adapters(config: Config, row: Row) -> dict[str, list[str] | None]:
    """The families and kinds of dual encoders that a row uses, by itself or to find what it re-ranks."""
    rows = [row] if row.coarse is None or row.coarse in METHODS else [row, comparator(config, row.coarse)]
    backbones = [one.backbone for one in rows if one.backbone is not None]
    return adapters(config, backbones, [one.encoder for one in rows if one.encoder is not None])


def rerank_settings(config: Config, row: Row) -> str:
    """Of a row that re-ranks: what finds the candidates, whose backbone is asked about them, and how."""
    assert row.backbone is not None and row.coarse is not None
    preset = chosen(config)
    return compact(
        preset=config["preset"],
        row=row.name,
        kind=row.kind,
        backbone=row.backbone,
        **read_as(config, row.backbone),
        prompt=preset["prompt"],
        coarse=_coarse(config, row.coarse),
        by=row.by,
        embed_batch=preset["evaluation"]["batch_size"],
        **{key: value for key, value in preset["rerank"].items() if key != "rows"},
        sets=counted_sets(config),
    )


def _coarse(config: Config, name: str) -> Config:
    """A method of the backbone, or the model of a comparator."""
    if name in METHODS:
        return {"method": name}
    return {"model": embedding_model(config, comparator(config, name))}


def pilot_settings(config: Config, backbone: str) -> str:
    """Of the pilot on a backbone.

    Raises:
        SlqError: the preset has none.
    """
    pilot = pilot_of(config)
    return compact(
        backbone=backbone,
        **read_as(config, backbone),
        readouts=[{"name": name, **config["readouts"][name]} for name in pilot["readouts"]],
        **{key: pilot[key] for key in ("set", "folder", "images", "texts") if key in pilot},
    )


def pilot_layout(config: Config) -> str:
    """Of the pilot's figure; errors as in `pilot_settings`."""
    pilot = pilot_of(config)
    return compact(
        preset=config["preset"],
        backbones=[{"name": name, "label": config["backbones"][name]["label"]} for name in chosen(config)["backbones"]],
        **{key: pilot[key] for key in ("set", "folder", "images") if key in pilot},
    )


def pilot_of(config: Config) -> Config:
    """The pilot of the preset that runs; errors as in `pilot_settings`."""
    if "pilot" not in chosen(config):
        raise SlqError(
            f"config: presets.{config['preset']}.pilot is missing; name texts and images there (docs/results.md, Pilot)"
        )
    pilot: Config = chosen(config)["pilot"]
    return pilot
