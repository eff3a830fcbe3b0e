"""Learning rates, which the paper does not give: the same grid and budget for every method, judged on val."""

from pathlib import Path
from typing import Any

from slq.common.events import Events, describe_device
from slq.common.files import digest, write_json
from slq.datasets.prepared import Split
from slq.models.backbone import pick_device
from slq.training.distributed import Processes
from slq.training.loop import Attempt, Diverged, sum_of_recalls
from slq.training.run import Validate, begin, read_inputs, train_on

SCHEMA = 1


def select_rate(
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    data: Path,
    train_set: str,
    work: Path,
    out: Path,
    validate: Validate,
) -> None:
    """Try every learning rate of the grid and write what each gave, which one is best, and what it cost.

    Args:
        settings: of the rule: those of training without a learning rate, and `selection` (learning_rates, epochs).
        validate: recalls of a retriever on the val split; the highest sum wins, the lower rate of two equals.
    """
    splits, inputs = read_inputs(backbone_folder, data, train_set)
    device = describe_device(pick_device())
    key = digest({"settings": settings, "seed": seed, "inputs": inputs})[:16]
    events = Events(work / key / "events.jsonl", method=settings["method"], seed=seed, device=device)
    tried = [
        {"learning_rate": rate} | try_rate(rate, settings, seed, backbone_folder, splits, events, validate)
        for rate in sorted(settings["selection"]["learning_rates"])
    ]
    finished = [trial for trial in tried if trial["val"] is not None]
    best = max(finished, key=lambda trial: sum_of_recalls(trial["val"]), default=None)
    write_json(
        out,
        {
            "schema": SCHEMA,
            **{part: settings[part] for part in ("preset", "backbone", "method")},
            "seed": seed,
            "chosen": best and best["learning_rate"],
            "why": "the highest sum of recalls on val; the lower rate of two equals",
            "tried": tried,
            "seconds": dict(events.seconds),
            "device": device,
            "inputs": inputs,
            "settings": settings,
        },
    )


def try_rate(
    rate: float,
    settings: dict[str, Any],
    seed: int,
    backbone_folder: Path,
    splits: dict[str, Split],
    events: Events,
    validate: Validate,
) -> dict[str, Any]:
    """Recalls on val after training anew with this rate; none if the loss did not stay finite."""
    settings = settings | {
        "training": settings["training"] | {"epochs": settings["selection"]["epochs"], "keep": "last"},
        "tuning": settings["tuning"] | {"learning_rate": rate},
    }
    with events.span("init"):
        retriever = begin(settings, seed, backbone_folder, Processes())
    try:
        trained = train_on(splits, retriever, settings, seed, Attempt(events), validate, {})
    except Diverged as error:
        return {"val": None, "failed": str(error)}
    return {"val": trained.val[-1]}
