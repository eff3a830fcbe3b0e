"""CLIP (Radford et al. 2021)."""

import html

import ftfy
from torch import Tensor
from transformers import CLIPModel

from slq.models.dual_encoder import DualEncoder


class ClipEncoder(DualEncoder):
    """CLIP's projections of the image tower's class token and of the text tower's end-of-text token.

    Texts are truncated to the text tower's context length (77 tokens in the released models) and keep their
    end-of-text token, as in LAION's CLIP_benchmark.
    """

    model_class = CLIPModel

    @property
    def max_text_tokens(self) -> int:
        """Maximum length of a text in tokens: the text tower's number of positions."""
        return self.model.config.text_config.max_position_embeddings

    def preprocess_text(self, text: str) -> str:
        """Clean a text as the original tokenizer does before it tokenizes (clip/simple_tokenizer.py).

        Broken encodings, curly quotes and full-width letters are mended, HTML entities are resolved twice, and blanks
        are collapsed; transformers' fast tokenizer does only the last.
        """
        return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Compute embeddings (n, d) of processed images, not yet normalised."""
        return self.model.get_image_features(pixel_values).pooler_output

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute embeddings (n, d) of texts, not yet normalised."""
        return self.model.get_text_features(input_ids, attention_mask=attention_mask).pooler_output
