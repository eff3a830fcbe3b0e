"""Check of the untouched backbones: their scores against published ones. It gates nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slq.common.files import write_json
from slq.results.base_check import compare_base_scores
from slq.results.layout import parse_layout
from slq.results.load import Results
from slq.results.paper import Paper

SCHEMA = 2


def check_base_scores(layout: Mapping[str, Any], results: Path, reference: Path, out: Path) -> None:
    """Compare base's scores with the published ones; write and print them.

    Args:
        layout: the input of `parse_layout`
        results: the results folder, which has one folder per preset
        reference: the folder of the paper's values
        out: the JSON file; not written if there is an error
    """
    scores = compare_base_scores(Results(results, parse_layout(layout)), Paper(reference, results))
    write_json(out, {"schema": SCHEMA, "checks": [asdict(one) | {"deviation": one.deviation} for one in scores]})
    for one in scores:
        print(f"{one.state:<10}  {one.backbone} on {one.dataset}: {one.reason or one.deviation}")
