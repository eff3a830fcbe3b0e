"""What a preset will cost, before any of it is there: from sizes alone."""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slq.cost.architecture import Architecture, NotForecast, read_architecture
from slq.cost.flops import Plan, Work, embed_flops, total, train_flops
from slq.cost.memory import BYTES, GB, Held, trained_numbers
from slq.cost.sizes import size_of

Settings = Mapping[str, Any]
START = 0.25  # hours of a job: Python, weights, reading what is there
MARGIN = 1.5  # of a job's hours, times the high end of the forecast, in which no loading and no padding is
CHECKPOINTS = 3  # on the disk at once: the newest two, and one that is being written
PLAINLY = {"two_pass": False, "gradient_checkpointing": False, "sharding": False}


@dataclass(frozen=True)
class Range:
    """A low and a high estimate."""

    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Cell:
    """What one run of a method on a backbone will cost.

    Attributes:
        flops: of training, and of what is kept of images for it.
        options: FLOPs of training done otherwise, as shares of `flops`, by the option's name.
        train, evaluate: hours of one device; None of a device whose peak is not known.
        gpus: that train together, each for its share of these hours.
        memory: GB on each device while it trains, as config.yaml says and plainly: in one pass, no layer run again,
            nothing spread.
        host, host_evaluating: GB of all processes of a training together, and of an evaluation.
        disk: GB of the adapter, and of checkpoints beside it.
    """

    backbone: str
    label: str
    method: str
    flops: float
    options: Mapping[str, float]
    train: Range | None
    evaluate: Range | None
    gpus: int
    memory: tuple[float, float]
    host: float
    host_evaluating: float
    disk: float


@dataclass(frozen=True)
class Needs:
    """What a job asks a cluster for."""

    hours: float
    mem_gb: float


@dataclass(frozen=True)
class Store:
    """What prefix options would keep of a backbone: bytes of an image's features and of its keys and values, in GB for
    all training images, on the device for a batch, and GB/s to read so that the faster estimate is not slowed.
    """

    label: str
    vision: float
    kv: float
    resident: float
    bandwidth: float | None


def forecast(settings: Settings) -> tuple[list[Cell], list[Store]]:
    """A cell per backbone and method, in the order of Table 3, and what each backbone's prefixes would occupy.

    Args:
        settings: of `cost_settings.forecast_settings`.

    Raises:
        NotForecast: a size is missing, by its key in config.yaml; or a backbone has no closed form.
    """
    cells, stores = [], []
    for backbone in settings["backbones"]:
        of_backbone = Sizes(settings, backbone)
        found = [of_backbone.cell(method) for method in settings["methods"]]
        cells += found
        stores.append(of_backbone.store(found[-1]))
    return cells, stores


def needs(settings: Settings, backbone: str, method: str, stage: str) -> Needs | None:
    """Say what a job of a run asks for; None of a device without a peak, an unknown architecture, a size left out.

    Args:
        settings: of `cost_settings.forecast_settings`.
        stage: `train` or `evaluate`.
    """
    (entry,) = (entry for entry in settings["backbones"] if entry["name"] == backbone)
    try:
        cell = Sizes(settings, entry).cell(method)
    except NotForecast:
        return None
    training = stage == "train"
    hours, gpus = (cell.train, cell.gpus) if training else (cell.evaluate, 1)
    if hours is None:
        return None
    return Needs(START + MARGIN * hours.high / gpus, cell.host if training else cell.host_evaluating)


def wall_hours(hours: Iterable[float], devices: int) -> float:
    """Until the last of these jobs has ended, each on one device, the longest first."""
    busy = [0.0] * devices
    for job in sorted(hours, reverse=True):
        heapq.heapreplace(busy, busy[0] + job)
    return max(busy)


class Sizes:
    """The sizes of one backbone's runs, each of a method: what all estimates follow from."""

    def __init__(self, settings: Settings, backbone: Settings) -> None:
        """
        Attributes:
            captions: of a training image, on average.
            image, text: of one pair.

        Raises:
            NotForecast: as `forecast`.
        """
        if not backbone["architecture"]:
            key = f"backbones.{backbone['name']}.architecture"
            raise NotForecast(f"config: {key} is missing; a forecast needs the sizes of the model")
        self.settings, self.backbone = settings, backbone
        self.architecture: Architecture = read_architecture(backbone["architecture"])
        self.training_set = size_of(settings["train_set"], "train")
        self.captions = float(self.training_set["texts"]["train"] / self.training_set["images"]["train"])
        self.image, self.text = self.messages(self.training_set, 1, 1)

    def cell(self, method: str) -> Cell:
        """The cost of a method."""
        training, plan, speed = self.backbone["training"][method], self._plan(method), self._speed()
        epochs, size = training["epochs"], training["batch_size"]
        pairs = self.training_set["texts"]["train"] // size * size * epochs if method != "base" else 0

        def flops(option: Plan) -> float:
            return pairs * self._pair_flops(option)

        options = dict(self._options(plan, epochs))
        taken = options.get(training["prefix"], plan)
        train = speed and _hours_at(flops(taken), speed)
        evaluate = speed and _hours_at(self._evaluated(plan), speed) + self._generated(method)
        held = self._held(method, plan)
        return Cell(
            self.backbone["name"],
            self.backbone["label"],
            method,
            flops(taken),
            {name: flops(option) / flops(taken) for name, option in options.items()} if pairs else {},
            train,
            evaluate,
            held.gpus,
            (held.device_gb(training), held.device_gb(training | PLAINLY)),
            held.host_gb(training),
            held.evaluating_gb,
            held.adapter_gb + CHECKPOINTS * held.checkpoint_gb,
        )

    def store(self, cell: Cell) -> Store:
        """`cell`: of the method whose prefixes are stored, the last."""
        text, vision = self.architecture.text, self.architecture.vision
        width = BYTES[self.settings["dtype"]]
        features = self.image.visual * vision.features * text.hidden * width
        kv = self.image.tokens * 2 * text.layers * text.kv_heads * text.head_dim * width
        training = self.backbone["training"][cell.method]
        images, size = self.training_set["images"]["train"], training["batch_size"]
        bandwidth = None
        if cell.train and "kv" in cell.options:
            seconds = cell.train.low * cell.options["kv"] * 3600
            bandwidth = kv * images * self.captions * training["epochs"] / seconds / GB
        return Store(cell.label, features * images / GB, kv * images / GB, kv * size / GB, bandwidth)

    def _plan(self, method: str) -> Plan:
        training = self.backbone["training"][method]
        again = training["gradient_checkpointing"] and method != "base"
        passes = 2 if training["two_pass"] else 1
        return Plan.of(method, self.settings["tuning"].get(method, {}), passes=passes, checkpointing=again)

    def _pair_flops(self, plan: Plan) -> float:
        """Of training on one pair; what is stored or stays is the image's, never the caption's."""
        read = replace(plan, vision=1.0, prefix=1.0)
        each = (plan, self.image), (read, self.text)
        return sum(total(train_flops(self.architecture, how, work)) for how, work in each)

    def messages(self, size: Settings, images: float, texts: float) -> tuple[Work, Work]:
        """So many images and texts of a set's size, each in its turn."""
        turn = self.settings["turn_tokens"]
        visual = self.architecture.image_tokens(size["pixels"], self.backbone["pixels"])
        return (
            Work.alike(images, visual + turn["image"], visual),
            Work.alike(texts, size["text_tokens"] + turn["text"]),
        )

    def _options(self, plan: Plan, epochs: int) -> list[tuple[str, Plan]]:
        """What could be done otherwise: for every method plainly and stored features, for SLQ stored prefixes."""
        each = 1 / (epochs * self.captions)
        plainly = replace(plan, passes=1, checkpointing=False)
        options = [("plain", plainly), ("vision", replace(plan, vision=each))]
        if plan.queries:
            options += [
                ("released", replace(plainly, whole_sequence=True)),
                ("resident", replace(plan, vision=1 / self.captions, prefix=1 / self.captions)),
                ("kv", replace(plan, vision=each, prefix=each)),
            ]
        return options

    def _speed(self) -> Range | None:
        """FLOP/s of the device, low and high: a share of its peak."""
        peak = self.settings["peak_tflops"]
        low, high = self.settings["mfu"]
        return Range(low * peak * 1e12, high * peak * 1e12) if peak else None

    def _evaluated(self, plan: Plan) -> float:
        """FLOPs of embedding every retrieval set and of reading every question with its images."""
        work = Work()
        for entry in [*self.settings["retrieval_sets"], *self.settings["knowledge_sets"]]:
            size = size_of(entry, "test")
            image, text = self.messages(size, size["images"]["test"], size["texts"]["test"])
            work += image + text
        flops = total(embed_flops(self.architecture, plan, work))
        for entry, limits in zip(self.settings["retention_sets"], self.backbone["retention_limits"], strict=True):
            size = size_of(entry, "test", ("texts",))
            visual = self.architecture.image_tokens(size["pixels"], tuple(limits["pixels"])) * limits["tiles"]
            share = self._asked(plan.method, size["texts"]["test"])
            asked = Work.alike(share, size["text_tokens"] + visual, visual)
            flops += total(embed_flops(self.architecture, Plan("base"), asked))
        return flops

    def _asked(self, method: str, questions: float) -> float:
        """Questions that a run answers: base's twice, once blind; where a proof stands in, its few and base's again."""
        if method in self.settings["proved"]:
            return min(2 * self.settings["proof_items"], questions)
        return 2 * questions if method == "base" else questions

    def _generated(self, method: str) -> Range:
        """Hours of generating answers, token by token, which takes a batch the same time whatever the peak."""
        batches = sum(
            self._asked(method, size_of(entry, "test", ("texts",))["texts"]["test"]) / self.settings["answer_batch"]
            for entry in self.settings["retention_sets"]
        )
        low, high = self.settings["token_seconds"]
        tokens = Range(min(8, self.settings["max_new_tokens"]), self.settings["max_new_tokens"])
        return Range(batches * tokens.low * low / 3600, batches * tokens.high * high / 3600)

    def _held(self, method: str, plan: Plan) -> Held:
        trained = trained_numbers(self.architecture.text, method, self.settings["tuning"].get(method, {}))
        gpus = max(self.backbone["gpus"][method], 1)
        return Held(self.architecture, plan, trained, self.image, self.text, self.settings["dtype"], gpus)


def _hours_at(flops: float, speed: Range) -> Range:
    """Hours of so many FLOPs."""
    return Range(flops / speed.high / 3600, flops / speed.low / 3600)
