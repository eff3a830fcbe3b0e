"""Tables, figures, the comparison of results, and the HTML page, all rendered from stored results only."""
