"""One training loop for every method: data in an order set by the seed, InfoNCE, events, an adapter at the end."""
