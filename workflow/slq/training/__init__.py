"""One loop for every method: data in an order that the seed decides, InfoNCE, events, an adapter at the end."""
