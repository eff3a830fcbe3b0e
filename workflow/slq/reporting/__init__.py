"""Tables, figures, comparison and page, from stored results alone."""
