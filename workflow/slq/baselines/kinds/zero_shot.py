"""A read-out of the preset's backbones without training."""

from slq.baselines.kinds._embedding import EmbeddingKind
from slq.baselines.registry import Config, entry_schema, key_of


class ZeroShot(EmbeddingKind):
    """Retrieval with the vectors that a read-out takes from an untrained backbone."""

    schema = entry_schema("A read-out of each backbone, without training.", {}, readout=key_of("readouts"))
    on_each_backbone = True
    table_group = "Zero-shot"

    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return a label of both, backbone and read-out."""
        backbone, readout = entry["backbone"], entry["readout"]
        label = f"{config['backbones'][backbone]['label']}, {config['readouts'][readout]['label']}"
        return {"label": label, "backbone": backbone, "readout": readout}
