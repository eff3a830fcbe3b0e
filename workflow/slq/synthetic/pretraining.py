"""Shared parts of pre-training: the word tokenizer, checks of configuration keys, optimisers and the training loop."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm
from transformers import AutoConfig, AutoImageProcessor

from slq.common.errors import SlqError
from slq.common.files import write_json
from slq.models.backbone import wrap_transformers_errors
from slq.synthetic.language import vocabulary

WARMUP_STEPS = 50
# Share of the steps, at the end, in which the learning rate decays. If it decays from the start, models learn too late
# to distinguish objects (docs/log.md).
DECAY_SHARE = 0.25
MUON_LR_FACTOR = 1.5  # Muon's learning rate for matrices, as a multiple of the learning rate
MOMENTUM = 0.95
WEIGHT_DECAY = 0.01
NEWTON_SCHULZ_STEPS = 5
# Coefficients of the polynomial that moves singular values towards 1: those of Muon (Jordan et al. 2024) and torch.
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315


def build_word_tokenizer(special: Sequence[str]) -> Tokenizer:
    """Build a tokenizer with one token per word: first the special tokens, then the vocabulary.

    Any other word becomes `<unk>`, which must be a special token.
    """
    words = [*special, *vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def check_config_keys(model_config: dict[str, Any], key_path: str = "model") -> None:
    """Refuse keys that are unknown to the model's configuration class; transformers would accept them silently."""
    default = AutoConfig.for_model(model_config["model_type"])
    sub_configs = {name: getattr(default, name) for name in default.sub_configs}
    for key, value in model_config.items():
        if key not in default.to_dict() and key not in default.attribute_map:
            raise SlqError(
                f"config: pretrain.{key_path}.{key} is not a key of {type(default).__name__} in transformers"
            )
        if key in sub_configs:
            check_config_keys({"model_type": sub_configs[key].model_type, **value}, f"{key_path}.{key}")


def name_settings(settings: dict[str, Any], part: str) -> AbstractContextManager[None]:
    """Return a context that converts errors of transformers to an SlqError about a part of the settings."""
    entry = f"backbones.{settings['backbone']}" if "backbone" in settings else f"encoders.{settings['encoder']}"
    return wrap_transformers_errors(f"config: {entry}.pretrain.{part}", "give what its class in transformers takes")


def build_config(settings: dict[str, Any], tokenizer: Any, **ids: int) -> Any:
    """Build the configuration of an untrained model from the settings' `model` and the tokenizer's vocabulary.

    Args:
        settings: pre-training settings.
        tokenizer: the model's tokenizer.
        ids: further token ids in the configuration, such as those of image tokens.

    Raises:
        SlqError: a key of `model` is unknown to its configuration class, or the class refuses its value.
    """
    model = dict(settings["model"])
    model["text_config"] = model["text_config"] | {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    with name_settings(settings, "model"):
        check_config_keys(settings["model"])
        return AutoConfig.for_model(model.pop("model_type"), **model, **ids)


def build_image_processor(settings: dict[str, Any], out: Path) -> Any:
    """Build the image processor of the settings, and write its configuration to `out`, as in a snapshot."""
    write_json(out / "preprocessor_config.json", settings["image_processor"])
    with name_settings(settings, "image_processor"):
        return AutoImageProcessor.from_pretrained(out, backend="pil", local_files_only=True)


def build_optimizers(network: nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Build Muon for the inner weight matrices, and AdamW for embeddings, norms and biases.

    Muon's updates are scaled to the size of AdamW's. With only AdamW, the same number of steps is enough to learn to
    describe images but not to read signs (docs/log.md).
    """
    embedding_ids = {
        id(p) for module in network.modules() if isinstance(module, nn.Embedding) for p in module.parameters()
    }
    parameters = list(network.parameters())
    matrices = [p for p in parameters if p.ndim == 2 and id(p) not in embedding_ids]
    matrix_ids = {id(p) for p in matrices}
    return [
        Muon(matrices, lr=MUON_LR_FACTOR * learning_rate),
        torch.optim.AdamW([p for p in parameters if id(p) not in matrix_ids], lr=learning_rate, weight_decay=0.01),
    ]


def train_network(network: nn.Module, compute_loss: Callable[[int], Tensor], settings: dict[str, Any]) -> None:
    """Train a network in place, with gradients clipped at norm 1.

    The learning rate has a linear warm-up, then stays constant, then decays linearly.

    Args:
        network: the network.
        compute_loss: function from the number of a step, from 0, to the loss of a batch.
        settings: `steps`, `learning_rate`, and the name of the `backbone` or `encoder`.

    Raises:
        SlqError: sizes in the model's configuration do not match.
    """
    steps, name = settings["steps"], settings.get("backbone") or settings["encoder"]
    both_optimizers = build_optimizers(network, settings["learning_rate"])
    schedulers = [
        LambdaLR(stepper, lambda step: min((step + 1) / WARMUP_STEPS, 1, (1 - step / steps) / DECAY_SHARE))
        for stepper in both_optimizers
    ]
    for step in tqdm(range(steps), desc=name, disable=None, file=sys.stderr):
        with nullcontext() if step else name_settings(settings, "model"):  # detects sizes that do not match
            loss = compute_loss(step)
        network.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for stepper in both_optimizers:
            stepper.step()
        for schedule in schedulers:
            schedule.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1} of {steps}: loss {loss.item():.4f}", file=sys.stderr, flush=True)


class Muon(torch.optim.Optimizer):
    """Muon optimiser (Jordan et al. 2024): orthogonalised Nesterov momentum for weight matrices.

    Updates are scaled to the size of AdamW's, a root mean square of 0.2.

    `torch.optim.Muon` orthogonalises in bfloat16 for every dtype. This gives other weights and, on a processor without
    instructions for bfloat16, takes three quarters of a pre-training step. This class orthogonalises all matrices of
    the same shape together in float32, which takes a tenth of a step.
    """

    def __init__(self, matrices: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every matrix that has a gradient; a matrix of a layer that the loss does not use has none."""
        for group in self.param_groups:
            updates_by_shape: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - MOMENTUM)
                updates_by_shape[tuple(matrix.shape)].append((matrix, matrix.grad.lerp(momentum, MOMENTUM)))
            for shape, pairs in updates_by_shape.items():
                size = 0.2 * max(shape) ** 0.5
                directions = orthogonalize(torch.stack([update for _, update in pairs]))
                for (matrix, _), direction in zip(pairs, directions, strict=True):
                    matrix.mul_(1 - group["lr"] * WEIGHT_DECAY).sub_(direction, alpha=group["lr"] * size)


def orthogonalize(matrices: Tensor) -> Tensor:
    """Move the singular values of each matrix in (n, rows, columns) close to 1, by the Newton-Schulz iteration."""
    wide = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=CUBIC, alpha=QUINTIC), wide, beta=LINEAR)
    return wide if matrices.shape[1] <= matrices.shape[2] else wide.mT
