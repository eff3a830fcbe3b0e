"""Evidence behind a number: the ranks behind a recall, or the scored answers behind a score."""

from typing import Any

import pandas as pd

from slq.evaluation.metrics_files import ANSWERS_SUFFIX, RANKS_SUFFIX, read_ranks, read_scored_answers, sibling_path
from slq.results.cells import ABSENT, EMPTY_STATES, TableCell, empty_cell


def evidence(row: Any) -> pd.DataFrame | TableCell:
    """Read the ranks or answers that a number was computed from, or an empty cell with the reason if they are missing.

    Args:
        row: a row of `slq.results.load.load`

    Returns:
        For retrieval: the ranks of the number's variant (`slq.evaluation.rank_table`). For retention: one row per
        question with its `id`, its `type`, and whether it `is_correct` according to the scorer that the tables print.
        In `attrs`, `source` is the name of the file, and `inherits` tells whether the file belongs to another run.

    Raises:
        SlqError: the ranks or answers are incomplete, or the metrics file was computed from other ones
    """
    if row.state in EMPTY_STATES:
        return empty_cell([row])
    record, suffix = row.record, RANKS_SUFFIX if row.kind == "retrieval" else ANSWERS_SUFFIX
    source = record.source.removesuffix(".json") + suffix
    if not sibling_path(record.path, suffix).exists():
        return TableCell.missing(f"{source}{ABSENT}")
    if row.kind == "retrieval":
        ranks = read_ranks(record.path, record.content)
        table = ranks[ranks["variant"] == (row.variant or record.text("variant"))]
    else:
        answers = read_scored_answers(row.path)
        judgements = answers.judgements()[record.text("scorer")]
        ids, is_correct = [item["id"] for item in answers.items], [one.is_correct for one in judgements]
        types = [item["type"] for item in answers.items]
        table = pd.DataFrame({"id": ids, "type": types, "is_correct": is_correct})
    table.attrs |= {"source": source, "inherits": row.inherits}
    return table
