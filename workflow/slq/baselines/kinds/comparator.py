"""Comparators: other systems of Table 1 with their published weights, a dual encoder or a backbone with a read-out."""

from slq.baselines.kinds._embedding import EmbeddingKind
from slq.baselines.registry import Config, entry_schema, key_of

TEXT = {"type": "string", "minLength": 1}
PRINTED = {"$ref": "#/$defs/printed"}


class Comparator(EmbeddingKind):
    """Retrieval with the embeddings of another system's model."""

    schema = entry_schema(
        "A system of Table 1 that is no method; exactly one of encoder, backbone says what it embeds with.",
        {
            "paper_row": TEXT
            | {"description": "The row of paper_tables/reference/table1.csv that it is or stands for."},
            **{"encoder": key_of("encoders"), "backbone": key_of("backbones"), "readout": key_of("readouts")},
        },
        label=PRINTED | {"description": "Its name in print."},
        trained_on=PRINTED | {"description": "In words, for a footnote: which data, as far as it is stated."},
    ) | {
        "oneOf": [{"required": ["encoder"]}, {"required": ["backbone"]}],
        "dependentRequired": {"backbone": ["readout"], "readout": ["backbone"]},
    }
    on_each_backbone = False
    table_group = ""

    def describe(self, config: Config, entry: Config) -> dict[str, str]:
        """Return all keys of the entry except `kind` and `name`."""
        return {key: value for key, value in entry.items() if key not in ("kind", "name")}
