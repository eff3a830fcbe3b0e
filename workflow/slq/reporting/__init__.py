"""Tables and figures from stored results: what was measured, quoted or is missing, and where it came from."""
