"""Tables from stored results alone: what was measured, what is quoted, what is missing, and where it came from."""
