"""An entry of `backbones` for a tiny random LlavaNextForConditionalGeneration."""

SIDE = 28
SHAPES = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]  # those of released models, twelve times smaller
ENTRY = {
    "family": "llava_next",
    "pretrain": {
        "markup": {"image": "<image>", "ids": {"image_token_id": "<image>"}, "tokens": []},
        "model": {
            "model_type": "llava_next",
            "image_grid_pinpoints": SHAPES,
            "vision_config": {
                "model_type": "clip_vision_model",
                "image_size": SIDE,
                "patch_size": 7,
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "projection_dim": 32,
            },
            "text_config": {
                "model_type": "llama",
                "hidden_size": 64,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 128,
                "max_position_embeddings": 512,
            },
        },
        "image_processor": {
            "image_processor_type": "LlavaNextImageProcessor",
            "size": {"shortest_edge": SIDE},
            "crop_size": {"height": SIDE, "width": SIDE},
            "image_grid_pinpoints": SHAPES,
        },
    },
}
