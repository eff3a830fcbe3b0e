"""The HTML report of a preset, which shows whether the paper reproduces and links every number to its source file."""
