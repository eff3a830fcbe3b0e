"""Checks of the paper: its sentences against our results, its numbers by arithmetic, its tables against each other."""
