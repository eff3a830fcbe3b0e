"""A run interpolated with base: nothing of its update gives base's numbers, all of it the run's own."""

import json

import numpy as np
import pytest

from answering import reply_tokens
from sliced import SEED
from slq.common.errors import SlqError
from slq.common.files import read_json
from slq.evaluation.generation import GenerationParams
from slq.evaluation.validation import build_recall_validator
from slq.training.interpolation import interpolate_run


def interpolated(slice_, method, fraction):
    """Interpolate a run of the slice, and return the name of the new run."""
    name = f"{method}/mix{fraction}"
    paths = (slice_.snapshot, slice_.data, "mini-coco", slice_.root / method / "adapter")
    settings = slice_.settings(name)
    out = (slice_.root / name / "adapter", slice_.root / name / "run.json")
    interpolate_run(settings, SEED, fraction, *paths, *out, build_recall_validator(settings))
    return name


def answers_of(slice_, method, backbone):
    return reply_tokens(backbone, slice_.questions, GenerationParams(8, 16))


@pytest.mark.parametrize("method", ["full_ft", "lora"])
def test_none_of_the_update_is_base_and_all_of_it_the_run_bit_for_bit(slice_, method):
    def everything(name):
        backbone, retriever = slice_.load(name)
        return [*slice_.vectors(backbone, retriever)], answers_of(slice_, name, backbone)

    whole, base = everything(method), everything("base")
    for fraction, expected in ((0.0, base), (1.0, whole)):
        vectors, answers = everything(interpolated(slice_, method, fraction))
        assert all(np.array_equal(*pair) for pair in zip(vectors, expected[0], strict=True))
        assert answers == expected[1]
    half = everything(interpolated(slice_, method, 0.5))[0]
    assert not any(np.array_equal(half[0], one[0][0]) for one in (whole, base))
    own, trained = (read_json(slice_.root / name / "run.json") for name in (f"{method}/mix1.0", method))
    assert own["val"]["recalls"] == trained["val"]["recalls"][-1:]
    assert json.dumps(own["parameters"]) == json.dumps(trained["parameters"]) and own["method"] == f"{method}/mix1.0"


def test_a_method_without_a_path_to_base_is_refused_by_name(slice_):
    with pytest.raises(SlqError, match="slq cannot be interpolated with base"):
        interpolated(slice_, "slq", 0.5)
