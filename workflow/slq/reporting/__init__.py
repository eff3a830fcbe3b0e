"""Tables, figures, the comparison of results, and the HTML page, all made from stored results alone."""
