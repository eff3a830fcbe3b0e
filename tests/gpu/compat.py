"""Packages that a machine with a GPU may have in place of the pinned ones: imported before anything of slq."""

import gc
import importlib.util
import sys
from unittest.mock import MagicMock

gc.set_threshold(200_000)  # as in slq.cli: collecting the objects of torch and transformers takes 1.5 s

from transformers import PreTrainedModel  # noqa: E402

if importlib.util.find_spec("jsonschema") is None:
    # The configuration is then read without its schema, against which `make test` checks it.
    sys.modules["jsonschema"] = MagicMock(ValidationError=Exception)
    sys.modules["jsonschema.validators"] = MagicMock()
if not hasattr(PreTrainedModel, "activation_checkpointing_enable"):  # the name since transformers 5.18 or later
    PreTrainedModel.activation_checkpointing_enable = PreTrainedModel.gradient_checkpointing_enable
