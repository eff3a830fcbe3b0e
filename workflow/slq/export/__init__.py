"""Export of a trained run as a folder that sentence-transformers and PEFT load, and image search with that folder."""
