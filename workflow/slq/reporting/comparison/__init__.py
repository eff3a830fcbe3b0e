"""Two results beside each other, cell by cell: a run and the paper, this week and last, one seed and another."""
