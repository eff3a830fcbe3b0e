"""Training methods: what of a backbone each trains, how it is read out, and what is saved and loaded."""
