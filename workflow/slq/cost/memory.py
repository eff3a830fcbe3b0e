"""Closed-form estimate, from sizes only, of the memory on each device and on the host during training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slq.cost.architecture import Architecture
from slq.cost.flops import TokenTotals
from slq.methods.plan import ComputePlan

GB = 1e9
DTYPE_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
ADAMW_COPIES = 4  # stored numbers per trained weight: weight, gradient, two moments
CHECKPOINT_COPIES = 3  # the same in a checkpoint, which has no gradients
PROCESS_GB = 4.0  # per training process: Python, torch, driver context, a batch of images
WORKER_GB = 0.5  # per data-loader worker
PREFETCH_FACTOR = 2  # prefetched batches per data-loader worker (torch's default)
EVALUATION_GB = 8.0  # per evaluation: embeddings and similarities of a dataset, images of a batch of questions


@dataclass(frozen=True)
class MemoryEstimate:
    """The estimated memory of one run.

    Attributes:
        image_totals, text_totals: tokens of the message of one image and of one caption.
        dtype: dtype of frozen weights.
        gpus: number of devices that share a global batch and, with `sharding`, the language model.
    """

    architecture: Architecture
    plan: ComputePlan
    image_totals: TokenTotals
    text_totals: TokenTotals
    dtype: str
    gpus: int

    @property
    def dtype_bytes(self) -> int:
        """Bytes of a frozen weight."""
        return DTYPE_BYTES[self.dtype]

    @property
    def trainable_dtype_bytes(self) -> int:
        """Bytes of a trained weight, which is stored in at least float32."""
        return max(self.dtype_bytes, 4)

    def device_gb(self, training: Mapping[str, Any]) -> float:
        """Estimate the GB on each device during training.

        Args:
            training: the training settings, as in config.yaml.
        """
        language = self.architecture.text.num_parameters
        frozen = language * self.dtype_bytes * (not self.plan.trains_language_model)
        shardable_bytes = (frozen + ADAMW_COPIES * self.plan.num_trainable * self.trainable_dtype_bytes) / (
            self.gpus if training["sharding"] else 1
        )
        replicated_bytes = (self.architecture.num_parameters - language) * self.dtype_bytes
        return (replicated_bytes + shardable_bytes + self._activation_bytes(training)) / GB

    def _activation_bytes(self, training: Mapping[str, Any]) -> float:
        """Estimate the bytes of the activations that are saved for the backward pass at one time."""
        if not self.plan.num_trainable or self.plan.head_only:
            return 0.0
        text, local_batch_size = self.architecture.text, training["batch_size"] / self.gpus
        kv_width, query_width = text.kv_heads * text.head_dim, text.heads * text.head_dim
        layer_bytes_per_token = self.dtype_bytes * (
            10 * text.hidden_size + 2 * query_width + 4 * text.intermediate_size
        )
        following = 0 if self.plan.keeps_prefix else self.plan.num_queries
        image, caption = self.image_totals.tokens + following, self.text_totals.tokens + following
        pairs, tokens_per_pair = local_batch_size, image + caption
        if training["grad_cache"]:  # its backward passes process images and captions separately, by micro-batch
            pairs, tokens_per_pair = min(training["micro_batch_size"], local_batch_size), max(image, caption)
        tokens = pairs * (2 * self.plan.num_queries if self.plan.keeps_prefix else tokens_per_pair)
        saved_bytes = tokens * text.layers * layer_bytes_per_token
        if training["gradient_checkpointing"]:
            micro_batch_tokens = min(training["micro_batch_size"], local_batch_size) * max(image, caption)
            saved_bytes = (
                tokens * text.layers * text.hidden_size * self.dtype_bytes + micro_batch_tokens * layer_bytes_per_token
            )
        if self.plan.keeps_prefix:  # the KV caches of the whole batch stay in memory
            saved_bytes += local_batch_size * (image + caption) * 2 * text.layers * kv_width * self.dtype_bytes
        return saved_bytes

    def host_gb(self, training: Mapping[str, Any]) -> float:
        """Estimate the host memory in GB of all processes of a training together.

        Every process loads the weights, and the main process also gathers a checkpoint.
        """
        vision, num_workers = self.architecture.vision, training["num_workers"]
        batch = (
            training["batch_size"]
            * self.image_totals.image_tokens
            * vision.patches_per_token
            * vision.values_per_patch
            * DTYPE_BYTES["float32"]
        )
        process_gb = PROCESS_GB + WORKER_GB * num_workers + self.architecture.num_parameters * self.dtype_bytes / GB
        return self.gpus * process_gb + (1 + PREFETCH_FACTOR * num_workers) * batch / GB + self.checkpoint_gb

    @property
    def evaluation_host_gb(self) -> float:
        """Host memory in GB during an evaluation."""
        return PROCESS_GB + EVALUATION_GB + self.architecture.num_parameters * self.dtype_bytes / GB

    @property
    def checkpoint_gb(self) -> float:
        """Size of a checkpoint in GB."""
        return CHECKPOINT_COPIES * self.plan.num_trainable * self.trainable_dtype_bytes / GB

    @property
    def adapter_gb(self) -> float:
        """Size of the trained weights in GB."""
        return self.plan.num_trainable * self.trainable_dtype_bytes / GB
