"""Preflight of a cluster run: can it start, and what would it submit?"""
