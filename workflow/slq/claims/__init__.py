"""What the paper says, checked: its sentences by our results, its numbers by arithmetic, its tables by each other."""
