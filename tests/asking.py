"""Prompts about an image and several texts, with an oracle for the logits, for tests of re-ranking."""

import math

import torch

from oracles import LONG, RED, SHORT, TALL, WIDE
from slq.baselines.injection import InjectionConfig
from slq.baselines.next_token import (
    InferenceConfig,
    answer_score_function,
    build_pointwise_messages,
    first_token_id,
)
from slq.models.prefix import collate

PROMPT = "{text}\nwhat color is the shape ?"
TEXTS = [SHORT, LONG, "a ring", "a blue square above a green ring"]
ANSWER = "red"
OFF = InjectionConfig(0.0, (5, 16), 0.75)


def asked(backbone, images=(RED, WIDE, TALL), texts=TEXTS):
    """Build one message per text for each image; prefix lengths differ if the family's image lengths do."""
    return [build_pointwise_messages(backbone, backbone.family.process(image), PROMPT, texts) for image in images]


def inference(batch_size, injection=OFF, reuse_prefix=True):
    return InferenceConfig(batch_size, injection, reuse_prefix)


def next_logits(backbone, turn):
    """Compute next-token logits with one stock forward pass over a single unpadded turn, as an oracle."""
    inputs = collate(backbone, [turn])
    with torch.inference_mode():
        return backbone.model(**inputs).logits[0, -1].tolist()


def plain_softmax(logits):
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    return [weight / sum(weights) for weight in weights]


def plain_entropy(probabilities):
    return -sum(p * math.log(p) for p in probabilities if p)


def read_truth(backbone):
    return answer_score_function(first_token_id(backbone, ANSWER, "rerank.positive_answer"))
