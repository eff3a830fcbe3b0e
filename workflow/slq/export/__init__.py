"""Export of a trained run as a folder for sentence-transformers and PEFT, and image search with it."""
