"""Checks of the paper: its claims against our results, its numbers by arithmetic, its tables against each other."""
