"""Criterion on the validation split that selects epochs and learning rates; without torch."""

RecallsByDirection = dict[str, dict[str, float]]


def sum_of_recalls(recalls: RecallsByDirection) -> float:
    """Sum R@1, R@5 and R@10 over both directions."""
    return sum(value for direction in recalls.values() for value in direction.values())
