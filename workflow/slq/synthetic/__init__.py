"""Synthetic datasets and models of the mini preset: scenes, captions, questions, tiny backbones and dual encoders."""
