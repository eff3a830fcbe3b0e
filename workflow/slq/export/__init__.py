"""A finished run as a folder for other libraries: sentence-transformers and PEFT."""
