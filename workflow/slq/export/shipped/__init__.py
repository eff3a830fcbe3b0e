"""What travels with an export; read as text, never imported here: it needs sentence-transformers."""
