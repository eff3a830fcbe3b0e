"""On-disk cache of frozen image features and prefix KV caches (`training.image_cache`)."""
