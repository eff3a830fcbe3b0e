"""Training methods, one module each: trainable weights, pooling of hidden states, and appearance in tables."""
