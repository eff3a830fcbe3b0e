"""Cell-by-cell comparison of two results: a run and the paper, an earlier and a later run, or two seeds."""
