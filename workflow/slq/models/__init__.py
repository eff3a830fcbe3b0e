"""The retriever: a backbone, the prefix that it encodes, and the read-out from hidden states to an embedding."""
