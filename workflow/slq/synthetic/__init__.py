"""The mini preset's bytes: synthetic scenes, captions, questions; tiny backbones and dual encoders of them."""
