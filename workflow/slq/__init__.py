"""SLQ: retrieval with frozen multimodal language models through shared latent queries, reproduced and accounted for."""
