"""BLIP (Li et al. 2022) by its contrastive half, ITC: no image-text matching head, so an image is seen once."""

from torch import Tensor
from transformers import BlipForImageTextRetrieval

from slq.models.dual_encoder import DualEncoder

# Of a caption in the authors' own evaluation of retrieval (salesforce/BLIP, coco_karpathy_retrieval_eval and
# train_retrieval.py): signs that become blanks, words that are kept, tokens that are read.
REMOVED_PUNCTUATION = str.maketrans(dict.fromkeys('.!"()*#:;~', " "))
MAX_WORDS = 30
MAX_TOKENS = 35


class BlipEncoder(DualEncoder):
    """Projections of both towers' first token; the text tower reads without the image."""

    model_class = BlipForImageTextRetrieval

    @property
    def max_text_tokens(self) -> int:
        return min(MAX_TOKENS, self.model.config.text_config.max_position_embeddings)

    def preprocess_text(self, text: str) -> str:
        return " ".join(text.lower().translate(REMOVED_PUNCTUATION).split()[:MAX_WORDS])

    def image_features(self, pixel_values: Tensor) -> Tensor:
        states = self.model.vision_model(pixel_values=pixel_values).last_hidden_state
        return self.model.vision_proj(states[:, 0])

    def text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.model.text_encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.model.text_proj(states[:, 0])
