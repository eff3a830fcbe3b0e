"""What a run is worth: retrieval by ranks, retention by answers."""
