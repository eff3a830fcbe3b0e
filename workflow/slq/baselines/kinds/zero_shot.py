"""Zero-shot retrieval with a read-out of the preset's backbones."""

from slq.baselines.kinds._embedding import EmbeddingKind
from slq.baselines.registry import Config, entry_schema, key_of


class ZeroShot(EmbeddingKind):
    """Zero-shot retrieval: embeddings of an untrained backbone with a read-out of `readouts` in config.yaml."""

    schema = entry_schema("A read-out of each backbone, without training.", {}, readout=key_of("readouts"))
    on_each_backbone = True
    table_group = "Zero-shot"

    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return a label that names backbone and read-out, and their keys in config.yaml."""
        backbone, readout = entry["backbone"], entry["readout"]
        label = f"{config['backbones'][backbone]['label']}, {config['readouts'][readout]['label']}"
        return {"label": label, "backbone": backbone, "readout": readout}
