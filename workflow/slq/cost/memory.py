"""The closed form of memory: what a training holds on each device, and on the host. An estimate, from sizes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slq.common.errors import UnknownMethod
from slq.cost.architecture import Architecture, Text
from slq.cost.flops import Plan, Work

GB = 1e9
BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
ADAMW = 4  # numbers for each that is trained: itself, its gradient, two moments
CHECKPOINT = 3  # numbers of them in a checkpoint, which holds no gradient
HOST_GB = 4.0  # of one process: Python, torch, the driver's context, a batch of images
WORKER_GB = 0.5  # of one process that loads images
READY = 2  # batches that each of them has ready, torch's default
SCORES_GB = 8.0  # of an evaluation: vectors and similarities of a set, pictures of a batch of questions


@dataclass(frozen=True)
class Held:
    """Numbers of one run.

    Attributes:
        trained: numbers that the method trains.
        image, text: tokens of an image's message and of a caption's.
        width: bytes of a weight that is not trained; trained ones are held in four at least.
        gpus: devices that share a batch; with `sharding` the language model too.
    """

    architecture: Architecture
    plan: Plan
    trained: float
    image: Work
    text: Work
    dtype: str
    gpus: int

    @property
    def width(self) -> int:
        return BYTES[self.dtype]

    @property
    def precise(self) -> int:
        return max(self.width, 4)

    def device_gb(self, training: Mapping[str, Any]) -> float:
        """On each device, while it trains as `training` in config.yaml says."""
        language = self.architecture.text.weights
        frozen = language * self.width * (self.plan.method != "full_ft")
        spread = (frozen + ADAMW * self.trained * self.precise) / (self.gpus if training["sharding"] else 1)
        whole = (self.architecture.weights - language) * self.width
        return (whole + spread + self._activations(training)) / GB

    def _activations(self, training: Mapping[str, Any]) -> float:
        """Bytes kept for the gradient of the pairs that are in memory together."""
        if self.plan.method == "base":
            return 0.0
        text, rows = self.architecture.text, training["batch_size"] / self.gpus
        narrow, wide = text.kv_heads * text.head_dim, text.heads * text.head_dim
        of_layer = self.width * (10 * text.hidden + 2 * wide + 4 * text.intermediate)
        image, caption = self.image.tokens, self.text.tokens
        pairs, of_pair = rows, image + caption
        if training["two_pass"]:  # which goes back through images and captions one after the other
            pairs, of_pair = min(training["micro_batch"], rows), max(image, caption)
        tokens = pairs * (2 * self.plan.queries or of_pair)
        kept = tokens * text.layers * of_layer
        if training["gradient_checkpointing"]:
            at_once = min(training["micro_batch"], rows) * max(image, caption)
            kept = tokens * text.layers * text.hidden * self.width + at_once * of_layer
        if self.plan.queries:  # all prefixes stay
            kept += rows * (image + caption) * 2 * text.layers * narrow * self.width
        return kept

    def host_gb(self, training: Mapping[str, Any]) -> float:
        """Of all processes of a training: each reads the weights, and the main one gathers a checkpoint."""
        vision, workers = self.architecture.vision, training["workers"]
        batch = training["batch_size"] * self.image.visual * vision.patches * vision.patch_values * BYTES["float32"]
        each = HOST_GB + WORKER_GB * workers + self.architecture.weights * self.width / GB
        return self.gpus * each + (1 + READY * workers) * batch / GB + self.checkpoint_gb

    @property
    def evaluating_gb(self) -> float:
        """On the host, of an evaluation."""
        return HOST_GB + SCORES_GB + self.architecture.weights * self.width / GB

    @property
    def checkpoint_gb(self) -> float:
        return CHECKPOINT * self.trained * self.precise / GB

    @property
    def adapter_gb(self) -> float:
        return self.trained * self.precise / GB


def trained_numbers(text: Text, method: str, tuning: Mapping[str, Any]) -> float:
    """Count the numbers that a method trains.

    Args:
        tuning: its entry in config.yaml.

    Raises:
        UnknownMethod: how many those are is not known of it.
    """
    match method:
        case "base":
            return 0.0
        case "full_ft":
            return float(text.weights)
        case "lora":
            return float(tuning["rank"] * text.layers * text.map_ends)
        case "slq":
            return float(tuning["queries"] * text.hidden)
    raise UnknownMethod(method, "cost/memory.py", "how many numbers it trains")
