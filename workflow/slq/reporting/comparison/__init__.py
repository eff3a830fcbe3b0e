"""Cell-by-cell comparison of two sets of results: ours and the paper's, earlier and later runs, or two seeds."""
