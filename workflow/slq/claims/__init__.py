"""Sentences of the paper, each with the test that decides it, and what the results say of them."""
