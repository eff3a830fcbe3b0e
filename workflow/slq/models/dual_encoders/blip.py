"""BLIP (Li et al. 2022) with its contrastive half alone (ITC).

The image-text matching head is not used, so each image is encoded once.
"""

from torch import Tensor
from transformers import BlipForImageTextRetrieval

from slq.models.dual_encoder import DualEncoder

# Captions in the authors' own evaluation of retrieval (salesforce/BLIP, coco_karpathy_retrieval_eval and
# train_retrieval.py): punctuation that becomes blanks, and the maximum numbers of words and tokens.
REMOVED_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))
MAX_WORDS = 30
MAX_TOKENS = 35


class BlipEncoder(DualEncoder):
    """Projections of the first token of both towers; the text tower runs without the image."""

    model_class = BlipForImageTextRetrieval

    @property
    def max_text_tokens(self) -> int:
        """Maximum length of a text in tokens: MAX_TOKENS, or the text tower's positions if they are fewer."""
        return min(MAX_TOKENS, self.model.config.text_config.max_position_embeddings)

    def preprocess_text(self, text: str) -> str:
        """Put a caption in lower case, replace punctuation by blanks, and truncate it to MAX_WORDS words."""
        return " ".join(text.lower().translate(REMOVED_PUNCTUATION).split()[:MAX_WORDS])

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Compute embeddings (n, d) of processed images, not yet of unit length."""
        states = self.model.vision_model(pixel_values=pixel_values).last_hidden_state
        return self.model.vision_proj(states[:, 0])

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute embeddings (n, d) of texts, not yet of unit length."""
        states = self.model.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.model.text_proj(states[:, 0])
