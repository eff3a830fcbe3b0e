"""Contrastive training, shared by all methods: seeded data order, InfoNCE loss, checkpoints, event log, adapters."""
