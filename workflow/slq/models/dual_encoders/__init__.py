"""Adapters of dual encoders, one module per class of model, named after the snapshot's `model_type`.

docs/backbones.md explains how to add one.
"""
