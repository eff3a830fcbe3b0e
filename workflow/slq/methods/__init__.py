"""Training methods: what of a backbone is trained, how it is read out, what is saved and loaded again."""
