"""The mini preset's bytes: drawn scenes, captions and questions; tiny backbones and dual encoders trained on them."""
