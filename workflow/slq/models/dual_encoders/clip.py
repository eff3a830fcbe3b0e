"""CLIP (Radford et al. 2021)."""

from torch import Tensor
from transformers import CLIPModel

from slq.models.dual_encoder import DualEncoder


class ClipEncoder(DualEncoder):
    """Projections of the image tower's class token and of the text tower's last token.

    Texts are cut where the text tower ends, at 77 tokens of the released models, the last of which then closes the
    text: so does CLIP_benchmark.
    """

    model_class = CLIPModel

    @property
    def max_text_tokens(self) -> int:
        return self.model.config.text_config.max_position_embeddings

    def image_features(self, pixel_values: Tensor) -> Tensor:
        return self.model.get_image_features(pixel_values).pooler_output

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model.get_text_features(input_ids, attention_mask=attention_mask).pooler_output
