"""SLQ, image-text retrieval with frozen multimodal language models by shared latent queries: a reproduction."""
