"""BLIP (Li et al. 2022), with its image-text contrastive (ITC) head only.

The image-text matching (ITM) head, which re-ranks pairs with cross-attention, is not used: each image and each text is
encoded once.
"""

from torch import Tensor
from transformers import BlipForImageTextRetrieval

from slq.models.dual_encoder import DualEncoder

# Caption preprocessing of the authors' own retrieval evaluation (github.com/salesforce/BLIP,
# coco_karpathy_retrieval_eval and train_retrieval.py): punctuation that is replaced by spaces, and the maximum numbers
# of words and tokens.
REMOVED_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))
MAX_WORDS = 30
MAX_TOKENS = 35


class BlipEncoder(DualEncoder):
    """BLIP's projections of the first ([CLS]) token of each tower; the text tower runs without the image."""

    model_class = BlipForImageTextRetrieval

    @property
    def max_text_tokens(self) -> int:
        """Maximum length of a text in tokens: MAX_TOKENS, or the text tower's number of positions if that is lower."""
        return min(MAX_TOKENS, self.model.config.text_config.max_position_embeddings)

    def preprocess_text(self, text: str) -> str:
        """Lower-case a caption, replace its punctuation by spaces, and truncate it to MAX_WORDS words."""
        return " ".join(text.lower().translate(REMOVED_PUNCTUATION).split()[:MAX_WORDS])

    def image_features(self, pixel_values: Tensor) -> Tensor:
        """Compute ITC embeddings (n, d) of processed images, not yet normalised."""
        states = self.model.vision_model(pixel_values=pixel_values).last_hidden_state
        return self.model.vision_proj(states[:, 0])

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Compute ITC embeddings (n, d) of texts, not yet normalised."""
        states = self.model.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.model.text_proj(states[:, 0])
