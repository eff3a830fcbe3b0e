"""Messages that cover all contents of a prefix, and oracles that compute their embeddings in another way."""

from contextlib import contextmanager

import torch
from PIL import Image
from torch.nn.functional import normalize

from slq.models.prefix import collate, continue_positions
from slq.synthetic.backbones import build_backbone

RED, WIDE, TALL = (Image.new("RGB", size, colour) for size, colour in
                   [((64, 64), "red"), ((128, 64), "blue"), ((48, 96), "green")])  # fmt: skip
SHORT, LONG = "a red circle", "on the left a red circle and on the right a blue square"
CASES = ["one text", "padded texts", "images", "text after image", "mixed"]


def messages(backbone, case):
    red, wide, tall = (backbone.family.process(image) for image in (RED, WIDE, TALL))
    return {
        "one text": [(SHORT,)],
        "padded texts": [(SHORT,), (LONG,), ("a ring",)],
        "images": [(red,), (wide,), (tall,)],
        "text after image": [(red, SHORT), (wide, LONG)],
        "mixed": [(SHORT,), (wide,), (tall, LONG), (LONG,), (red, wide, SHORT)],
    }[case]


def untrained(name, entry, folder):
    """Build the untrained backbone of a config.yaml entry with `pretrain`; the weights are the same each time."""
    return build_backbone({"backbone": name, "family": entry["family"], "seed": 7, **entry["pretrain"]}, folder)


def sharpen(backbone):
    """Sharpen the language model's attention, so that a wrong position or mask is visible in an untrained backbone."""
    with torch.no_grad():
        for name, parameter in backbone.model.named_parameters():
            if ("language_model" in name or "text_model.layers" in name) and name.endswith(
                ("q_proj.weight", "k_proj.weight", "v_proj.weight")
            ):
                parameter.mul_(8)
    return backbone


@contextmanager
def queries_last(backbone, queries):
    """Replace the embeddings of a sequence's last tokens by the queries for as long as the block runs."""

    def put_queries(module, arguments, output):
        return torch.cat([output[:, : -len(queries)], queries.expand(len(output), -1, -1)], 1)

    handle = backbone.inner.get_input_embeddings().register_forward_hook(put_queries)
    try:
        yield
    finally:
        handle.remove()


def whole_sequence(retriever, batch):
    """Embed by one stock forward pass over [x; Q], as an oracle; queries replace the embeddings of N extra tokens."""
    backbone, count = retriever.backbone, len(retriever.queries)
    inputs = collate(backbone, batch)
    rows = len(batch)
    pad = backbone.tokenizer.unk_token_id
    positions = inputs["position_ids"]
    inputs["position_ids"] = torch.cat([positions, continue_positions(positions, count)], -1)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.full((rows, count), pad)], 1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones(rows, count, dtype=torch.long)], 1)
    inputs |= backbone.family.extra_inputs(inputs["input_ids"])
    with queries_last(backbone, retriever.queries):
        states = backbone.inner(**inputs, use_cache=False).last_hidden_state[:, -count:]
    return normalize(states.mean(1), dim=-1)


def compare_with_the_whole_sequence(retriever, batch):
    """Assert that vectors and the queries' gradient equal those of the whole sequence in one call.

    The prefix is used twice, with another prefix in between.
    """
    weights = torch.randn(len(batch), retriever.backbone.hidden_size, generator=torch.Generator().manual_seed(1))
    looked, other = retriever.encode_prefix(batch), retriever.encode_prefix(batch[:1])

    def again():
        retriever.embed_from_prefix(other)
        return retriever.embed_from_prefix(looked)

    results = []
    for embed in (lambda: retriever.embed_from_prefix(looked), again, lambda: whole_sequence(retriever, batch)):
        retriever.queries.grad = None
        vectors = embed()
        (vectors * weights).sum().backward()
        results.append((vectors.detach(), retriever.queries.grad.clone()))
    *reads, (oracle, oracle_gradient) = results
    for ours, our_gradient in reads:
        assert (ours - oracle).abs().max() < 1e-5
        assert (our_gradient - oracle_gradient).norm() / oracle_gradient.norm() < 1e-4
    assert oracle_gradient.norm() > 1e-3


def named_trainable_parameters(retriever):
    """Return the parameters that a retriever reports as trainable."""
    return retriever.named_trainable_parameters()
