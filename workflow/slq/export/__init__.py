"""A trained run as a folder for other libraries, sentence-transformers and PEFT, and images searched by it."""
