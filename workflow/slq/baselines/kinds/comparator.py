"""Comparators: other systems of Table 1 with their published weights, a dual encoder or a backbone with a read-out."""

from slq.baselines.kinds._embedding import EmbeddingKind
from slq.baselines.registry import Config, entry_schema, key_of

TEXT = {"type": "string", "minLength": 1}
PRINTED = {"$ref": "#/$defs/printed"}


class Comparator(EmbeddingKind):
    """Retrieval with the embeddings of another system's model."""

    schema = entry_schema(
        "Another system of Table 1; exactly one of encoder and backbone names the model that embeds.",
        {
            "paper_row": TEXT | {"description": "The row of paper_tables/reference/table1.csv that it corresponds to."},
            **{"encoder": key_of("encoders"), "backbone": key_of("backbones"), "readout": key_of("readouts")},
        },
        label=PRINTED | {"description": "Name in tables."},
        trained_on=PRINTED | {"description": "Training data as far as published, in words, for a footnote."},
    ) | {
        "oneOf": [{"required": ["encoder"]}, {"required": ["backbone"]}],
        "dependentRequired": {"backbone": ["readout"], "readout": ["backbone"]},
    }
    on_each_backbone = False
    table_group = ""

    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return all keys of the entry except `kind` and `name`."""
        return {key: value for key, value in entry.items() if key not in ("kind", "name")}
