"""A few timed steps of a run, made before it: what its forecast is calibrated by."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from slq.errors import SlqError
from slq.events import Events, describe_device, synchronize
from slq.files import write_json
from slq.models.backbone import pick_device
from slq.training.loop import Attempt, Loop
from slq.training.pairs import Pairs, pair_work, shown
from slq.training.processes import Processes
from slq.training.run import begin, read_inputs

SCHEMA = 1
UNTIMED = 2  # first steps: allocations, caches


def bench(
    settings: dict[str, Any], seed: int, steps: int, backbone_folder: Path, data: Path, train_set: str, out: Path
) -> None:
    """Write how long steps of the run's first epoch take, and what was in their batches.

    Reading images is in it where training reads them in every epoch, and is not where it keeps them in memory. Prefixes
    are run anew in every step, whatever `training.prefix` says: the forecast knows how much each option leaves out.

    Raises:
        SlqError: an epoch has fewer steps.
    """
    training = settings["training"] | {"prefix": "recompute"}
    splits, inputs = read_inputs(backbone_folder, data, train_set)
    retriever = begin(settings, seed, backbone_folder, Processes())
    pairs = Pairs(retriever.backbone, splits["train"], settings["prompt"], **shown(training))
    batches = pairs.batches(training["batch_size"], seed, 0)[: UNTIMED + steps]
    if len(batches) < UNTIMED + steps:
        raise SlqError(f"an epoch has {len(batches)} steps; lower accounting.bench_steps, now {steps}, in config.yaml")
    if training["keep_pixels"]:
        for number in sorted({number for batch in batches for number in batch}):
            pairs[number]
    attempt = Attempt(Events(Path(os.devnull)))
    loop = Loop(retriever, training, settings["tuning"], len(batches), seed, attempt)
    seconds, timed = _timed(
        loop, DataLoader(pairs, batch_sampler=batches, num_workers=training["workers"], collate_fn=list)
    )
    loop.bar.close()
    low, middle, high = np.quantile(seconds[UNTIMED:], [0.1, 0.5, 0.9])
    write_json(
        out,
        {
            "schema": SCHEMA,
            **{part: settings[part] for part in ("preset", "backbone", "method")},
            "seed": seed,
            "made": time.time(),
            "device": describe_device(pick_device()),
            "pairs": training["batch_size"],
            "step_seconds": {"low": float(low), "middle": float(middle), "high": float(high)},
            "work": pair_work(timed),
            "inputs": inputs,
            "settings": settings,
        },
    )


def _timed(loop: Loop, loader: DataLoader) -> tuple[list[float], list[Any]]:
    """Seconds of each step, the wait for its batch included, and the pairs of those that count."""
    seconds: list[float] = []
    pairs: list[Any] = []
    clock = time.perf_counter()
    for batch in loader:
        loop.take_step(batch)
        synchronize()
        now = time.perf_counter()
        seconds.append(now - clock)
        clock = now
        if len(seconds) > UNTIMED:
            pairs += batch
    return seconds, pairs
