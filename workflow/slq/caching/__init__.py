"""On-disk cache of training images: vision-tower features or prefix KV caches (`training.image_cache`)."""
