"""A folder of images searched by a text or an image, with a run's retriever."""
