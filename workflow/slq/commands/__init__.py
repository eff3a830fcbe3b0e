"""Subcommands of `slq` that people type, by subject, and how a table of them becomes a command line."""
