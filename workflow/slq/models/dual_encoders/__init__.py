"""One adapter per class of dual encoder; the snapshot's `model_type` names the module.

docs/backbones.md says how to add one.
"""
