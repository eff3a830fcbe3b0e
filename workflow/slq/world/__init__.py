"""The mini preset's bytes: drawn scenes, their captions and questions, and the tiny backbones that learn to read them."""
