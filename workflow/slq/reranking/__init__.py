"""RetLLM's second stage: a multimodal LLM looks again at the first candidates of a coarse list (docs/rerank.md)."""
