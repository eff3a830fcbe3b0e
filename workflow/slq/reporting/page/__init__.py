"""One page per preset: does it reproduce? Every number on it with the file that it came from."""
