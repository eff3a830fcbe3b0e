"""Retrieval models: multimodal backbones, prompt prefixes, read-outs from hidden states, and dual encoders."""
