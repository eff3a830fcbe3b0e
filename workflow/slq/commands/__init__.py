"""Subcommands of `slq` that people type, grouped by subject, and the argument parser of all subcommands."""
