"""The stages of the GPU check (run.py): correctness is asserted; times and memory are measured and reported.

A stage is a function of a `Scale` and a backbone (or a method) that returns what its lines in the page show, and raises
an AssertionError if the code is wrong. The paper's scale needs a GPU; the small one runs every stage on a CPU.
"""

import copy
import gc
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.models.internvl.modeling_internvl import InternVLModel

from slq.config.cost_settings import train_step_settings
from slq.config.loading import load_merged_config
from slq.cost.bench.random_inputs import build_random_backbone, make_coco_like_batches
from slq.cost.bench.train_step import bench_train_step
from slq.cost.bench.variants import SLQ_VARIANTS, StepVariant, build_variants
from slq.evaluation.encode import embed_messages
from slq.methods.plan import ComputePlan
from slq.models.backbone import pick_device
from slq.models.retriever import LatentQueryRetriever, initial_queries
from slq.models.whole_sequence import WholeSequenceRetriever

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")
FEATURES_RUN = "mm_encoder_outputs" in inspect.signature(InternVLModel.forward).parameters
LOW = "bfloat16"
ERROR_RATIO = 1.5  # largest error in bfloat16, in units of that of one forward over the whole sequence
FLOAT32_ERROR = 1e-4  # largest relative difference in float32 of two exact ways to compute
CHECKPOINTING = ["full_ft", "lora"]  # methods with gradient checkpointing in the paper preset
INITIAL_DEVIATION = 0.02  # of weights, transformers' default
LOSS_ERROR = (
    2e-2  # largest relative error of a loss in bfloat16; on CPUs, up to 28 layers deep, at most 0.0052 was seen
)


@dataclass(frozen=True)
class Scale:
    """How large the stages are.

    Attributes:
        preset: where shapes and settings come from.
        rows: images, and captions, that are embedded for correctness.
        micro_batch: pairs of a timed step, and of a micro-batch.
        repeats: timed repetitions.
        batch_sizes: of evaluation, which must not matter.
        layers: of the language models that are trained in subprocesses.
        whole_steps: (backbone, method, pairs) of steps with GradCache, None for the preset's global batch.
    """

    preset: str
    backbones: tuple[str, ...]
    rows: int
    micro_batch: int
    repeats: int
    batch_sizes: tuple[int, ...]
    layers: int
    whole_steps: tuple[tuple[str, str, int | None], ...]


INTERNVL_1B, QWEN_2B, QWEN_4B, INTERNVL_8B = "InternVL3-1B", "Qwen3-VL-2B", "Qwen3-VL-4B", "InternVL3-8B"
PAPER = Scale(
    "paper",
    (INTERNVL_1B, QWEN_2B, QWEN_4B, INTERNVL_8B),
    rows=16,
    micro_batch=64,
    repeats=3,
    batch_sizes=(1, 4, 16),
    layers=2,
    whole_steps=(
        (INTERNVL_8B, "lora", 128),
        (QWEN_4B, "full_ft", 128),
        (INTERNVL_1B, "none", None),
        (INTERNVL_8B, "none", None),
        (INTERNVL_1B, "lora", 128),
        (INTERNVL_1B, "full_ft", 128),
        (QWEN_4B, "none", None),
        (QWEN_2B, "none", None),
    ),
)
SMALL = Scale(
    "mini",
    ("mini-internvl", "mini-qwen3vl"),
    rows=6,
    micro_batch=4,
    repeats=1,
    batch_sizes=(1, 4),
    layers=1,
    whole_steps=(("mini-internvl", "lora", 8), ("mini-internvl", "full_ft", 8), ("mini-qwen3vl", "none", 8)),
)


@dataclass(frozen=True)
class Stage:
    """One stage: its name, the work, and the seconds that it is expected to take on the paper's scale."""

    name: str
    work: Callable[[], dict[str, Any]]
    seconds: int


def list_stages(scale: Scale) -> list[Stage]:
    """List all stages, those that can find a fault first, and long measurements last."""
    first, second, *others = scale.backbones
    stages = [Stage(f"caches {name}", lambda name=name: check_caches(scale, name), 15) for name in (first, second)]
    stages += [Stage(f"embeddings {name}", lambda name=name: check_embeddings(scale, name), 10)
               for name in (first, second)]  # fmt: skip
    stages += [
        Stage("resume", lambda: check_resume(scale), 60),
        Stage("two processes", lambda: check_two_processes(scale), 40),
    ]
    stages += [Stage(f"embeddings {name}", lambda name=name: check_embeddings(scale, name), 15) for name in others]
    stages += [Stage(f"step {name}", lambda name=name: measure_step(scale, name), 40) for name in scale.backbones]
    for name, variant, pairs in scale.whole_steps:
        stages.append(
            Stage(
                f"whole step {name} {variant}", lambda case=(name, variant, pairs): measure_whole_step(scale, *case), 45
            )
        )
    return stages


def settings_of(scale: Scale, name: str, batch: int | None, whole_step: bool = False) -> dict[str, Any]:
    """Return the settings of a bench of a backbone in bfloat16."""
    config = load_merged_config([ROOT / "config.yaml"], scale.preset)
    return train_step_settings(config, name, batch, LOW, whole_step)


def build(scale: Scale, name: str) -> tuple[Any, list[list[Any]], dict[str, Any]]:
    """Build a backbone in float32 and batches of its random pairs; return the settings too."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    settings = settings_of(scale, name, scale.rows)
    backbone = build_random_backbone(settings | {"dtype": "float32"}, pick_device(), seed=1)
    sharpen(backbone)
    overhead = settings["prompt_overhead_tokens"]
    return backbone, make_coco_like_batches(backbone, scale.rows, 2, settings["pixels"], overhead, seed=1), settings


def sharpen(backbone: Any) -> None:
    """Scale queries and keys of random weights so that attention's logits have a deviation of about 1.5.

    Attention that is nearly uniform hides a wrong position or mask.
    """
    factor = max(1.0, 1.5**0.5 / (INITIAL_DEVIATION * backbone.hidden_size**0.5))
    with torch.no_grad():
        for name, weight in backbone.inner.language_model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(factor)


def lower(backbone: Any) -> None:
    """Convert the weights to bfloat16, and leave buffers as a loaded model has them: rotary frequencies in float32."""
    for weight in backbone.model.parameters():
        weight.data = weight.data.to(torch.bfloat16)


def slq_variants(*left_out: str) -> list[str]:
    """List the variants of SLQ that run with this version of transformers; image features need 5.19."""
    left_out += () if FEATURES_RUN else ("features",)
    return [name for name in SLQ_VARIANTS if name not in left_out]


def relative(value: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the relative size of a difference."""
    return float((value.float() - exact.float()).norm() / exact.float().norm())


# ---- asserted --------------------------------------------------------------------------------------------------------


def check_embeddings(scale: Scale, name: str) -> dict[str, Any]:
    """Compare embeddings with one forward over the whole sequence, and of several batch sizes with each other.

    The reference is the whole sequence in float32. Batches hold images, captions, and both.
    """
    backbone, (pairs, _), settings = build(scale, name)
    queries = initial_queries(settings["queries"], backbone.hidden_size, "normal", torch.Generator().manual_seed(1))
    whole, two_calls = WholeSequenceRetriever(backbone, queries), LatentQueryRetriever(backbone, queries)
    images, texts = [pair.image for pair in pairs], [pair.text for pair in pairs]
    batches = [images, texts, [*images[:2], *texts[:2]]]

    def embed(retriever: Any) -> torch.Tensor:
        """Embed all batches."""
        with torch.no_grad():
            return torch.cat([retriever.embed(batch) for batch in batches])

    def embed_by(size: int) -> torch.Tensor:
        """Embed images and captions as evaluation does."""
        return torch.cat([torch.as_tensor(embed_messages(two_calls, part, size)) for part in (images, texts)])

    exact = embed(whole)
    found = {"float32": rms(embed(two_calls), exact)}
    sizes_exact = [embed_by(size) for size in scale.batch_sizes]
    lower(backbone)
    found |= {"whole sequence": rms(embed(whole), exact), "two calls": rms(embed(two_calls), exact)}
    sizes_low = [embed_by(size) for size in scale.batch_sizes]
    found["batch sizes (float32)"] = max(rms(one, sizes_exact[0]) for one in sizes_exact)
    found["batch sizes"] = max(rms(one, sizes_low[0]) for one in sizes_low)
    assert found["float32"] < FLOAT32_ERROR, f"two calls in float32: {found}"
    assert found["two calls"] <= ERROR_RATIO * found["whole sequence"], f"two calls in bfloat16: {found}"
    assert found["batch sizes (float32)"] < FLOAT32_ERROR, f"batch sizes in float32: {found}"
    # Two roundings differ by no more than the sum of their errors.
    assert found["batch sizes"] <= 2 * ERROR_RATIO * found["whole sequence"], f"batch sizes in bfloat16: {found}"
    return found


def rms(vectors: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the root mean square distance of unit vectors."""
    return float((vectors - exact).norm(dim=-1).square().mean().sqrt())


def check_caches(scale: Scale, name: str) -> dict[str, Any]:
    """Compare loss and gradient of a step with each image cache with those of the released algorithm in float32."""
    backbone, batches, settings = build(scale, name)
    names = slq_variants()

    def steps(folder: Path) -> dict[str, tuple[float, torch.Tensor]]:
        """Take a step of each variant; and the second of `batch`, whose images are those of the first."""
        found = {one.name: one for one in build_variants(backbone, batches, settings, names, folder)}
        taken = {label: one.take_first_step() for label, one in found.items()}
        plain = found["none"]
        last = StepVariant("none", plain.retriever, lambda: [batches[-1]], ComputePlan(), plain.settings)
        taken["none (2nd)"] = last.take_first_step()
        found["batch"].take_steps()
        taken["batch (2nd)"] = (taken["none (2nd)"][0], plain.retriever.queries.grad.clone())
        return taken

    with tempfile.TemporaryDirectory() as folder:
        exact = steps(Path(folder) / "exact")
        lower(backbone)
        low = steps(Path(folder) / "low")
    (exact_loss, exact_gradient), second = exact["reference"], exact["none (2nd)"][1]
    report: dict[str, Any] = {"float32": {}, "loss": {}, "gradient": {}}
    for label in exact:
        loss, gradient = (exact["none (2nd)"][0], second) if "2nd" in label else (exact_loss, exact_gradient)
        report["float32"][label] = max(abs(exact[label][0] - loss) / loss, relative(exact[label][1], gradient))
        report["loss"][label] = abs(low[label][0] - loss) / loss
        report["gradient"][label] = relative(low[label][1], gradient)
        assert report["float32"][label] < FLOAT32_ERROR, f"{label} in float32: {report['float32']}"
        assert report["loss"][label] < LOSS_ERROR, f"{label}, loss in bfloat16: {report['loss']}"
    for label, error in report["gradient"].items():
        bound = ERROR_RATIO * report["gradient"]["none (2nd)" if "2nd" in label else "reference"]
        assert error <= bound, f"{label}, gradient in bfloat16: {report['gradient']}"
    if "features" not in names:
        report["not run"] = "features: transformers is older than 5.19"
    return report


def check_resume(scale: Scale, methods: Sequence[str] = ("slq", "full_ft")) -> dict[str, Any]:
    """Kill a deterministic training and continue it; what it learns must be the same bytes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tasks = [{"method": method, "folder": f"{method}-whole", "out": f"{method}-whole.safetensors"}
                 for method in methods]  # fmt: skip
        for method in methods:
            killed = {"method": method, "folder": method, "kill_at": 5}
            run_worker(scale, folder, [*tasks, killed], -signal.SIGKILL)
            assert (folder / method / "step-00000004").is_dir(), "no checkpoint before the kill"
            tasks = [{"method": method, "folder": method, "out": f"{method}.safetensors", "from_step": 4}]
        run_worker(scale, folder, tasks, 0)
        sizes = {}
        for method in methods:
            whole, resumed = ((folder / f"{method}{end}.safetensors").read_bytes() for end in ("-whole", ""))
            assert whole == resumed, f"{method}: killed and resumed, it learns other bytes"
            sizes[method] = len(whole)
    return {"equal bytes": sizes}


def check_two_processes(scale: Scale) -> dict[str, Any]:
    """Compare the first gradients of two processes, each with a half of the batch, with those of one process."""
    if torch.cuda.is_available() and torch.cuda.device_count() < 2:
        return {"not run": "one GPU"}
    report = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cases = [("slq", False), ("full_ft", False), ("full_ft", True)]
        tasks = [{"method": method, "sharding": sharding, "gradients": f"{number}", "dtype": "float32"}
                 for number, (method, sharding) in enumerate(cases)]  # fmt: skip
        run_worker(scale, folder, [task | {"sharding": False} for task in tasks], 0)
        run_worker(scale, folder, tasks, 0, processes=2)
        for number, (method, sharding) in enumerate(cases):
            one, two = (load_file(folder / f"{number}-of-{count}.safetensors") for count in (1, 2))
            assert one.keys() == two.keys() and one
            worst = max(relative(two[key], one[key]) for key in one if one[key].norm() > 0)
            report[f"{method}{' (sharded)' * sharding}"] = worst
            assert worst < 10 * FLOAT32_ERROR, f"two processes: {report}"
    return report


def run_worker(scale: Scale, folder: Path, tasks: list[dict[str, Any]], expected: int, processes: int = 1) -> None:
    """Run tasks of worker.py in one process or several, which must end with a status, negative for a signal."""
    settings = copy.deepcopy(settings_of(scale, scale.backbones[0], scale.rows))
    settings["architecture"]["text_config"]["num_hidden_layers"] = scale.layers
    plan = folder / "plan.json"
    plan.write_text(
        json.dumps({"settings": settings, "pairs": 3 * scale.rows, "batch_size": scale.rows, "tasks": tasks})
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started, path = [], os.pathsep.join([str(ROOT / "workflow"), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    for rank in range(processes):
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
        names = names | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if processes > 1 else {}
        environment = {**os.environ, "PYTHONPATH": path, **{key: str(value) for key, value in names.items()}}
        command = [sys.executable, str(WORKER), str(plan)]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=300)[1] for process in started]
    for process, error in zip(started, errors, strict=True):
        last = " | ".join(error.strip().splitlines()[-4:])
        assert process.returncode == expected, f"worker ended with {process.returncode}, not {expected}: {last}"


# ---- reported --------------------------------------------------------------------------------------------------------


def measure_step(scale: Scale, name: str) -> dict[str, Any]:
    """Time a step of one micro-batch as released and with each image cache that is held in memory.

    The released algorithm keeps the activations of whole sequences: the micro-batch is halved until they fit.
    """
    pairs, too_many = scale.micro_batch, []
    while True:
        found = measure(settings_of(scale, name, pairs), slq_variants("kv_disk"), scale.repeats)  # no disk is timed
        if "bench" in found or pairs < 8:
            return found | ({"out of memory at": too_many} if too_many else {})
        too_many.append(pairs)
        pairs //= 2
        gc.collect()
        torch.cuda.empty_cache()


def measure_whole_step(scale: Scale, name: str, variant: str, pairs: int | None) -> dict[str, Any]:
    """Time a step of the paper preset's training: micro-batches, GradCache, gradient checkpointing."""
    settings = settings_of(scale, name, pairs, whole_step=True)
    settings |= {"micro_batch_size": scale.micro_batch, "grad_cache": True, "gradient_checkpointing": CHECKPOINTING}
    return measure(settings, [variant], 2 if pairs else 1)


def measure(settings: dict[str, Any], variants: list[str], repeats: int) -> dict[str, Any]:
    """Run the bench; if the device's memory does not suffice, this is the result."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return {"bench": bench_train_step(settings, variants, repeats, Path(folder))}
    except torch.OutOfMemoryError as error:
        return {
            "out of memory": str(error).split(". ")[0],
            "backbone": settings["backbone"],
            "batch": settings["batch"],
        }
