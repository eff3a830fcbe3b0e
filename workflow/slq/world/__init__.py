"""The mini preset's bytes: drawn scenes, their captions and questions, and tiny backbones that learn to read them."""
