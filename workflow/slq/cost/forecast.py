"""Forecast of a preset's cost from sizes in config.yaml only, before models or datasets are downloaded."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slq.cost.architecture import Architecture, UnknownCostError, read_architecture
from slq.cost.dataset_sizes import require_dataset_size
from slq.cost.flops import TokenTotals, embed_flops, find_settings_method, method_plan, total_flops, train_flops
from slq.cost.measured_speed import Speed, bench_variant
from slq.cost.memory import DTYPE_BYTES, GB, MemoryEstimate
from slq.methods.plan import ComputePlan
from slq.methods.registry import BASE

Settings = Mapping[str, Any]
STARTUP_HOURS = 0.25  # start of a job: importing Python packages, loading weights, checking existing files
SAFETY_FACTOR = 1.5  # in a job's time limit, on the high forecast, which leaves out loading and padding
CHECKPOINTS_ON_DISK = 3  # at the same time: the newest two, and the one being written
NO_MEMORY_SAVING = {"grad_cache": False, "gradient_checkpointing": False, "sharding": False}


@dataclass(frozen=True)
class Range:
    """A low and a high estimate."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        """Add the low estimates and the high estimates."""
        return Range(self.low + other.low, self.high + other.high)

    def scale(self, factor: float) -> "Range":
        """Multiply both estimates by a factor."""
        return Range(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class RunForecast:
    """The forecast cost of one run of a method on a backbone.

    Attributes:
        flops: FLOPs of training, including building the image cache.
        relative_flops: FLOPs of alternative ways to train, relative to `flops`, by the name of the option.
        train_hours, evaluation_hours: device hours; None if the peak of the device is unknown.
        gpus: number of devices that share `train_hours`.
        device_gb: GB on each device during training, first with the settings of config.yaml, then without memory saving
            (one pass, no gradient checkpointing, no sharding).
        host_gb, evaluation_host_gb: host memory in GB of all processes of a training together, and of an evaluation.
        disk_gb: GB of the adapter and its checkpoints.
    """

    backbone: str
    label: str
    method: str
    flops: float
    relative_flops: Mapping[str, float]
    train_hours: Range | None
    evaluation_hours: Range | None
    gpus: int
    device_gb: tuple[float, float]
    host_gb: float
    evaluation_host_gb: float
    disk_gb: float


@dataclass(frozen=True)
class JobResources:
    """The resources that a job requests from a cluster."""

    hours: float
    mem_gb: float


@dataclass(frozen=True)
class CacheForecast:
    """The size of a backbone's image cache for each option of `image_cache`.

    Attributes:
        features_gb, kv_gb: GB of the image features, or of the KV caches, of all training images.
        batch_gb: GB of the KV caches of one batch, on the device.
        read_bandwidth: GB/s at which KV caches must be read so that reading does not slow down the faster estimate;
            None if unknown or not applicable.
    """

    label: str
    features_gb: float
    kv_gb: float
    batch_gb: float
    read_bandwidth: float | None


def forecast_preset(settings: Settings) -> tuple[list[RunForecast], list[CacheForecast]]:
    """Forecast every run, by backbone and method in the order of Table 3, and the size of each backbone's image cache.

    Args:
        settings: from `cost_settings.forecast_settings`, possibly with measured speeds (`measured_speed.apply_bench`).

    Raises:
        UnknownCostError: a size is missing (the message names its key in config.yaml), or a backbone has no closed
            form.
    """
    runs, caches = [], []
    for backbone in settings["backbones"]:
        cost_model = BackboneCostModel(settings, backbone)
        backbone_runs = [cost_model.forecast_run(method) for method in settings["methods"]]
        runs += backbone_runs
        readers = [run for run in backbone_runs if "kv" in find_settings_method(settings, run.method).image_caches]
        caches += [cost_model.forecast_cache(readers[-1])] if readers else []
    return runs, caches


def job_resources(settings: Settings, backbone: str, method: str, stage: str) -> JobResources | None:
    """Estimate the resources of one job of a run.

    The result is None if the peak of the device, the architecture or a required size is unknown.

    Args:
        settings: from `cost_settings.forecast_settings`.
        stage: `train` or `evaluate`.
    """
    (entry,) = (entry for entry in settings["backbones"] if entry["name"] == backbone)
    try:
        run = BackboneCostModel(settings, entry).forecast_run(method)
    except UnknownCostError:
        return None
    training = stage == "train"
    hours, gpus = (run.train_hours, run.gpus) if training else (run.evaluation_hours, 1)
    if hours is None:
        return None
    return JobResources(
        STARTUP_HOURS + SAFETY_FACTOR * hours.high / gpus, run.host_gb if training else run.evaluation_host_gb
    )


def wall_hours(hours: Iterable[float], devices: int) -> float:
    """Compute the hours until the last job ends, if each job uses one device and longer jobs start first."""
    busy_until = [0.0] * devices
    for job in sorted(hours, reverse=True):
        heapq.heapreplace(busy_until, busy_until[0] + job)
    return max(busy_until)


class BackboneCostModel:
    """Cost estimates for all runs of one backbone, from the sizes of the backbone and of the training set.

    Attributes:
        settings: from `cost_settings.forecast_settings` or `cost_settings.paper_audit_settings`.
        backbone: the backbone's entry in `settings`.
        architecture: the sizes of the model.
        train_dataset_size: the size of the training set.
        captions_per_image: mean number of captions per training image.
        image_totals, text_totals: tokens of the image and of the caption of one pair.
    """

    def __init__(self, settings: Settings, backbone: Settings) -> None:
        """Read the sizes of the backbone and of the training set.

        Raises:
            UnknownCostError: as in `forecast_preset`.
        """
        if not backbone["architecture"]:
            key = f"backbones.{backbone['name']}.architecture"
            raise UnknownCostError(f"config: {key} is missing; a forecast needs the sizes of the model")
        self.settings, self.backbone = settings, backbone
        self.architecture: Architecture = read_architecture(backbone["architecture"])
        self.train_dataset_size = require_dataset_size(settings["train_dataset"], "train")
        self.captions_per_image = float(
            self.train_dataset_size["texts"]["train"] / self.train_dataset_size["images"]["train"]
        )
        self.image_totals, self.text_totals = self.token_totals(self.train_dataset_size, 1, 1)

    def forecast_run(self, method: str) -> RunForecast:
        """Forecast the cost of a run of a method."""
        training, plan, speed = self.backbone["training"][method], self._compute_plan(method), self._speed(method)
        epochs, size = training["epochs"], training["batch_size"]
        pairs = self.train_dataset_size["texts"]["train"] // size * size * epochs if plan.num_trainable else 0

        def flops(option: ComputePlan) -> float:
            """Compute the FLOPs of the whole training under a plan."""
            return pairs * self._pair_flops(option)

        options = dict(self._alternative_plans(plan, epochs))
        chosen_plan = options.get(training["image_cache"], plan)
        train = speed and _hours_at_speed(flops(chosen_plan), speed)
        evaluation_flops = self._evaluation_flops(method, plan)
        evaluation = speed and _hours_at_speed(evaluation_flops, speed) + self._generation_hours(method)
        memory = self._memory_estimate(method, plan)
        return RunForecast(
            self.backbone["name"],
            self.backbone["label"],
            method,
            flops(chosen_plan),
            {name: flops(option) / flops(chosen_plan) for name, option in options.items()} if pairs else {},
            train,
            evaluation,
            memory.gpus,
            (memory.device_gb(training), memory.device_gb(training | NO_MEMORY_SAVING)),
            memory.host_gb(training),
            memory.evaluation_host_gb,
            memory.adapter_gb + CHECKPOINTS_ON_DISK * memory.checkpoint_gb,
        )

    def forecast_cache(self, run: RunForecast) -> CacheForecast:
        """Forecast the size of the backbone's image cache.

        Args:
            run: the forecast of the method whose prefixes are cached: the preset's last method that can read them.
        """
        text, vision = self.architecture.text, self.architecture.vision
        dtype_bytes = DTYPE_BYTES[self.settings["dtype"]]
        features = self.image_totals.image_tokens * vision.features_per_token * text.hidden_size * dtype_bytes
        kv = self.image_totals.tokens * 2 * text.layers * text.kv_heads * text.head_dim * dtype_bytes
        training = self.backbone["training"][run.method]
        images, size = self.train_dataset_size["images"]["train"], training["batch_size"]
        bandwidth = None
        if run.train_hours and "kv" in run.relative_flops:
            seconds = run.train_hours.low * run.relative_flops["kv"] * 3600
            bandwidth = kv * images * self.captions_per_image * training["epochs"] / seconds / GB
        return CacheForecast(run.label, features * images / GB, kv * images / GB, kv * size / GB, bandwidth)

    def _compute_plan(self, method: str) -> ComputePlan:
        """Build the compute plan of a method from its training settings."""
        training = self.backbone["training"][method]
        plan = method_plan(self.settings, method, self.architecture)
        checkpointing = training["gradient_checkpointing"] and plan.num_trainable > 0
        return replace(plan, num_forward_passes=2 if training["grad_cache"] else 1, checkpointing=checkpointing)

    def _pair_flops(self, plan: ComputePlan) -> float:
        """Compute the FLOPs of training on one pair; only images are cached, never captions."""
        caption_plan = replace(plan, vision_share=1.0, prefix_share=1.0)
        each = (plan, self.image_totals), (caption_plan, self.text_totals)
        return sum(total_flops(train_flops(self.architecture, how, work)) for how, work in each)

    def token_totals(self, size: Settings, images: float, texts: float) -> tuple[TokenTotals, TokenTotals]:
        """Compute the token totals of the given numbers of images and texts, each in its own chat turn.

        Every image and text has the dataset's mean length, from its `size` in config.yaml.
        """
        overhead_tokens = self.settings["prompt_overhead_tokens"]
        image_tokens = self.architecture.count_image_tokens(size["pixels"], self.backbone["pixels"])
        return (
            TokenTotals.of_equal_length(images, image_tokens + overhead_tokens["image"], image_tokens),
            TokenTotals.of_equal_length(texts, size["text_tokens"] + overhead_tokens["text"]),
        )

    def _alternative_plans(self, plan: ComputePlan, epochs: int) -> list[tuple[str, ComputePlan]]:
        """List alternative ways to train: without memory saving, with cached features and, for queries, prefixes."""
        once_per_image = 1 / (epochs * self.captions_per_image)
        once_per_epoch = 1 / self.captions_per_image
        no_memory_saving = replace(plan, num_forward_passes=1, checkpointing=False)
        options = [
            ("no_memory_saving", no_memory_saving),
            ("features", replace(plan, vision_share=once_per_image)),
        ]
        if plan.num_queries and plan.keeps_prefix:
            options += [
                ("released", replace(no_memory_saving, whole_sequence=True)),
                ("batch", replace(plan, vision_share=once_per_epoch, prefix_share=once_per_epoch)),
                ("kv", replace(plan, vision_share=once_per_image, prefix_share=once_per_image)),
            ]
        return options

    def _speed(self, method: str) -> Range | None:
        """Return the device's FLOP/s, low and high: measured, or as shares (MFU) of its peak.

        None if nothing was measured and the peak is unknown.
        """
        if "measured_speeds" in self.settings:
            speed = self.find_measured_speed(method)
            return Range(speed.low, speed.high)
        peak = self.settings["peak_tflops"]
        low, high = self.settings["mfu"]
        return Range(low * peak * 1e12, high * peak * 1e12) if peak else None

    def find_measured_speed(self, method: str) -> Speed:
        """Return the speed of a method's run that `slq bench` measured, or its estimate from other measurements."""
        image_cache = self.backbone["training"][method]["image_cache"]
        variant = bench_variant(find_settings_method(self.settings, method), image_cache)
        speed: Speed = self.settings["measured_speeds"].find_speed(self.backbone["name"], variant)
        return speed

    def _evaluation_flops(self, method: str, plan: ComputePlan) -> float:
        """Compute the FLOPs of embedding every retrieval dataset, and of the prefill of every question with images."""
        totals = TokenTotals()
        for entry in [*self.settings["retrieval_datasets"], *self.settings["knowledge_datasets"]]:
            size = require_dataset_size(entry, "test")
            image, text = self.token_totals(size, size["images"]["test"], size["texts"]["test"])
            totals += image + text
        flops = total_flops(embed_flops(self.architecture, plan, totals))
        for entry, limits in zip(self.settings["retention_datasets"], self.backbone["retention_limits"], strict=True):
            size = require_dataset_size(entry, "test", ("texts",))
            image_tokens = (
                self.architecture.count_image_tokens(size["pixels"], tuple(limits["pixels"])) * limits["tiles"]
            )
            num_questions = self._count_answered_questions(method, size["texts"]["test"])
            question_totals = TokenTotals.of_equal_length(
                num_questions, size["text_tokens"] + image_tokens, image_tokens
            )
            flops += total_flops(embed_flops(self.architecture, ComputePlan(), question_totals))
        return flops

    def _count_answered_questions(self, method: str, questions: float) -> float:
        """Count the answers that a run generates to the questions of a dataset.

        The base model answers each question twice, once without its image. For a method that inherits its answers, only
        the questions of the equivalence check are answered, once by the method and once by the base model.
        """
        if method in self.settings["inheriting_methods"]:
            return min(2 * self.settings["equivalence_items"], questions)
        return 2 * questions if method == BASE else questions

    def _generation_hours(self, method: str) -> Range:
        """Estimate the hours of generating answers token by token.

        The time per generated token of a batch is assumed not to depend on the peak of the device.
        """
        batches = sum(
            self._count_answered_questions(method, require_dataset_size(entry, "test", ("texts",))["texts"]["test"])
            / self.settings["generation_batch_size"]
            for entry in self.settings["retention_datasets"]
        )
        low, high = self.settings["seconds_per_generated_token"]
        tokens = Range(min(8, self.settings["max_new_tokens"]), self.settings["max_new_tokens"])
        return Range(batches * tokens.low * low / 3600, batches * tokens.high * high / 3600)

    def _memory_estimate(self, method: str, plan: ComputePlan) -> MemoryEstimate:
        """Build the memory estimate of a method's run."""
        gpus = max(self.backbone["gpus"][method], 1)
        return MemoryEstimate(
            self.architecture, plan, self.image_totals, self.text_totals, self.settings["dtype"], gpus
        )


def _hours_at_speed(flops: float, speed: Range) -> Range:
    """Compute a low and a high estimate of the hours that the FLOPs take."""
    return Range(flops / speed.high / 3600, flops / speed.low / 3600)
